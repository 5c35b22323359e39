package journal

// OpenSecure opens the journal at path as a process with file capabilities does.
func OpenSecure(path, dev string, kinds Kinds) (*Journal, error) {
	return open(path, Rules{Dev: dev, Secure: true}, kinds, 0)
}
