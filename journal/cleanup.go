package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
)

// Report is what Cleanup did.
type Report struct {
	Removed []string    // what was taken away, one line each
	Busy    []BusyError // devices of live runs, which were left alone
}

// Cleanup heals and deletes all journals in dirs (see Dirs) that belong to the calling thread's
// network namespace and to no live run, and deletes those of earlier boots, of which nothing can be
// left. Journals of other namespaces and of other users stay. It goes on after a failure and
// returns all of them.
func Cleanup(
	ctx context.Context, m Machine, kinds Kinds, log *slog.Logger, dirs ...string,
) (Report, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var report Report
	here, err := currentKey()
	if err != nil {
		return report, &Error{Err: err}
	}
	var failures []error
	for _, dir := range dirs {
		files, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			failures = append(failures, &Error{Err: fmt.Errorf("list journals: %w", err)})
		}
		for _, file := range files {
			if err := cleanup(ctx, m, kinds, log, here, filepath.Join(dir, file.Name()),
				&report); err != nil {
				failures = append(failures, err)
			}
		}
	}
	return report, errors.Join(failures...)
}

// cleanup treats one file of a journal directory.
func cleanup(
	ctx context.Context, m Machine, kinds Kinds, log *slog.Logger, here key, path string,
	report *Report,
) error {
	written, dev, ok := fileName(filepath.Base(path))
	if !ok || written.boot == here.boot && written.namespace != here.namespace {
		return nil
	}
	j, err := open(path, RulesFor(dev), kinds, 0)
	var busy *BusyError
	switch {
	case errors.As(err, &busy):
		report.Busy = append(report.Busy, *busy)
		return nil
	case errors.Is(err, ErrForeign), errors.Is(err, os.ErrPermission):
		log.WarnContext(ctx, "journal ignored", "err", err)
		return nil
	case errors.Is(err, os.ErrNotExist): // its run ended meanwhile
		return nil
	case err != nil:
		return &Error{Err: err}
	}
	if written.boot != here.boot {
		j.mu.Lock()
		j.facts, j.leftover = nil, false
		j.mu.Unlock()
	}
	removed, err := j.Heal(ctx, m)
	report.Removed = append(report.Removed, removed...)
	return errors.Join(err, j.Close())
}
