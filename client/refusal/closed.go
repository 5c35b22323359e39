package refusal

import (
	"errors"

	"tunnel/transport"
)

// Over returns an error if the server closed the connection because its token is no longer valid,
// nil if the connection ended for another reason.
func Over(err error) error {
	var closed *transport.CloseError
	if !errors.As(err, &closed) || !closed.Remote || closed.Code != transport.CodeRevoked {
		return nil
	}
	return &transport.StepError{Step: transport.StepAuth, Err: errors.New(closed.Reason),
		Reason: transport.ReasonTokenOver}
}

// OfGrant returns an error if the server closed the connection in place of granting an address, and
// said why, nil if err is another.
func OfGrant(err error) error {
	var closed *transport.CloseError
	if !errors.As(err, &closed) {
		return nil
	}
	why, known := map[transport.Code]transport.Reason{
		transport.CodeNoAddress: transport.ReasonNetworkFull,
		transport.CodeSessions:  transport.ReasonSessions,
	}[closed.Code]
	if !known {
		return Over(err)
	}
	return &transport.StepError{Step: transport.StepAddress, Err: errors.New(closed.Reason),
		Reason: why}
}
