package packet

// SuperRecords returns super-packets, by name, for tests that need a device beside this package.
func SuperRecords() map[string][]byte {
	all := map[string][]byte{}
	for _, c := range superPackets() {
		all[c.name] = c.record
	}
	return all
}
