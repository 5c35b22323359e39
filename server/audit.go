package server

import (
	"log/slog"

	"tunnel/admin/audit"
	"tunnel/server/admission"
)

// record tells Config.Record.
func (s *Server) record(e audit.Entry) {
	if s.Record != nil {
		s.Record(e)
	}
}

// refusal counts a refused login, records it, and returns log to log it. of has what is known of
// the client, and err the error behind it; nil is none.
func (s *Server) refusal(why admission.Reason, of audit.Entry, err error,
	log *slog.Logger) *slog.Logger {
	of.Event, of.Reason = audit.Refused, why.String()
	if err != nil {
		of.Detail = err.Error()
	}
	s.record(of)
	return s.refused.Count(why, log)
}
