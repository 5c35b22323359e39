package trail

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"tunnel/admin/audit"
)

// journalSocket is where journald takes entries, in its native protocol.
const journalSocket = "/run/systemd/journal/socket"

// journalPatience bounds how long a write waits for a journald that does not read.
const journalPatience = time.Second

// journal is a writer to journald. It connects anew after an error: journald may have been started
// again.
type journal struct {
	path string
	conn *net.UnixConn // nil if it has to be connected
}

func openJournal(path string) (*journal, error) {
	j := &journal{path: path}
	return j, j.connect()
}

func (j *journal) connect() (err error) {
	j.conn, err = net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: j.path})
	return err
}

// write implements writer: each entry is a datagram.
func (j *journal) write(lines []line) (written int, err error) {
	for _, l := range lines {
		for again := range 2 {
			if j.conn == nil {
				err = j.connect()
			}
			if err == nil {
				_ = j.conn.SetWriteDeadline(time.Now().Add(journalPatience))
				_, err = j.conn.Write(fields(l))
			}
			if err == nil {
				break
			}
			_ = j.close()
			if again == 0 {
				err = nil
			}
		}
		if err != nil {
			return written, err
		}
		written++
	}
	return written, nil
}

func (j *journal) close() error {
	if j.conn == nil {
		return nil
	}
	err := j.conn.Close()
	j.conn = nil
	return err
}

// priorities of entries, as in syslog(3).
const (
	notice = "5"
	info   = "6"
)

// fields returns an entry in the native protocol of journald: a sentence, and a field TUNNEL_NAME
// for each field of its JSON.
func fields(l line) []byte {
	all := map[string]string{"MESSAGE": sentence(l.Entry), "SYSLOG_IDENTIFIER": "tunnel-audit",
		"PRIORITY": priority(l.Event)}
	addFields(all, "TUNNEL", l.json)
	var out bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(all)) {
		value := all[name]
		out.WriteString(name)
		if !strings.Contains(value, "\n") {
			out.WriteString("=" + value + "\n")
			continue
		}
		out.WriteByte('\n')
		_ = binary.Write(&out, binary.LittleEndian, uint64(len(value))) // a Buffer takes all
		out.WriteString(value + "\n")
	}
	return out.Bytes()
}

// addFields adds a field for each member of a JSON object, those of objects within it included.
func addFields(all map[string]string, prefix string, object []byte) {
	var values map[string]json.RawMessage
	_ = json.Unmarshal(object, &values) // it is this program's own
	for name, value := range values {
		name = prefix + "_" + strings.ToUpper(name)
		var text string
		switch {
		case value[0] == '{':
			addFields(all, name, value)
		case json.Unmarshal(value, &text) == nil:
			all[name] = text
		default:
			all[name] = string(value)
		}
	}
}

func priority(e audit.Event) string {
	switch e {
	case audit.Refused, audit.RefusedOmitted, audit.EntriesLost, audit.TokenRevoked, audit.Kicked:
		return notice
	}
	return info
}

// sentence returns what a person reads of an entry.
func sentence(e audit.Entry) string {
	text := strings.ReplaceAll(string(e.Event), "_", " ")
	if e.Token != "" {
		text += " " + e.Token
	}
	if e.Address.IsValid() {
		text += " " + e.Address.String()
	}
	if e.Remote != "" {
		text += " from " + e.Remote
	}
	if e.UID != nil {
		text += fmt.Sprintf(" by user %d", *e.UID)
		if e.User != "" {
			text += " (" + e.User + ")"
		}
	}
	if e.LoginUser != "" && e.LoginUser != e.User {
		text += ", logged in as " + e.LoginUser
	}
	if e.End != nil {
		text += fmt.Sprintf(" after %.0f s, %d bytes to it and %d from it", e.End.Seconds, e.End.Sent,
			e.End.Received)
	}
	for _, more := range []string{e.Reason, e.Detail} {
		if more != "" {
			text += ": " + more
		}
	}
	return text
}
