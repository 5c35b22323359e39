package status

import "errors"

// Ready returns why the packets of a client cannot cross, nil if they can: it has a session, on
// whose connection bytes of the server have come within two keepalive intervals.
func (c Client) Ready() error {
	switch {
	case c.State == Connected:
		return nil
	case c.Reason == "":
		return errors.New("not connected yet")
	}
	return errors.New("not connected: " + c.Reason)
}

// Ready returns why the packets of a hub's clients cannot cross, nil if they can.
func (h Hub) Ready() error {
	if h.Problem == "" {
		return nil
	}
	return errors.New("clients cannot be reached: " + h.Problem)
}
