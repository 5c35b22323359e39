package packet

// The ECN field (RFC 3168 section 5).
const (
	ecnMask   = 0x03
	ecnNotECT = 0x00
	ecnCE     = 0x03
)

// MarkCE sets Congestion Experienced in an IP packet that Length has accepted, and returns true. If
// the packet's sender does not use ECN it returns false and changes nothing.
func MarkCE(ip []byte) bool {
	if ip[0]>>4 == 4 {
		if ip[1]&ecnMask == ecnNotECT {
			return false
		}
		ip[1] |= ecnCE
		headerChecksum(ip)
		return true
	}
	// The traffic class spans the first two bytes.
	if ip[1]>>4&ecnMask == ecnNotECT {
		return false
	}
	ip[1] |= ecnCE << 4
	return true
}
