package auth

import "bytes"

// Redact returns text with an ellipsis in place of what follows the prefix of a token's text, up to
// the first byte that no token has. It is for what people read: a token that was given in the
// place of something else is quoted there. It returns text itself if there is none.
func Redact(text []byte) []byte {
	prefix := []byte(tokenPrefix)
	if !bytes.Contains(text, prefix) {
		return text
	}
	var out []byte
	for {
		before, rest, found := bytes.Cut(text, prefix)
		out = append(out, before...)
		if !found {
			return out
		}
		out = append(append(out, prefix...), "…"...)
		text = bytes.TrimLeftFunc(rest, inToken)
	}
}

// inToken reports whether r may be in a token's text, or in one that was mistyped.
func inToken(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
		r == '_' || r == '-'
}
