package transport

// A Reason identifies the advice for a StepError that depends on the flags and settings of the
// program, which only the caller knows. The caller writes the text for it, about the Subject of the
// error, and appends the Advice of the error, if any.
type Reason string

// The reasons.
const (
	ReasonToken Reason = "token" // the server wants a token, or another
	// the same, or the token is bound to another certificate than the client's
	ReasonTokenOrCert Reason = "token-or-cert"
	ReasonTokenOver   Reason = "token-over" // the token has ended
	// a 401 that may not be from the server; Subject: its authentication schemes, or ""
	ReasonDoubtful Reason = "doubtful"
	// the same, for a login in a header of the user; Subject: the header
	ReasonHeader Reason = "header"
	// the URL, or the path of the server, is wrong
	ReasonURL   Reason = "url"
	ReasonProxy Reason = "proxy" // the proxy cannot be reached
	// a proxy that is not configured wants a user and a password
	ReasonProxyFront Reason = "proxy-front"
	// the proxy wants a user and a password; Subject: its scheme
	ReasonProxyLogin   Reason = "proxy-login"
	ReasonProxyRefuses Reason = "proxy-refuses" // it refuses the login; Subject: its scheme
	// no authority is known for the certificate; Subject: the key's pin, or ""
	ReasonAuthority   Reason = "authority"
	ReasonHostname    Reason = "hostname"     // the certificate is for another name
	ReasonPin         Reason = "pin"          // the server has another key
	ReasonCertWanted  Reason = "cert-wanted"  // the server demands a client certificate
	ReasonCertRefused Reason = "cert-refused" // it refuses the client's
	ReasonCertPerhaps Reason = "cert-perhaps" // it may demand one
	ReasonNetworkFull Reason = "network-full" // the server has no address left
	// the token has as many sessions as it may have
	ReasonSessions Reason = "sessions"
	// the requested address is not available
	ReasonAddress Reason = "address"
	// this machine's DNS servers are not known; Subject: the network that is granted
	ReasonResolversUnknown Reason = "resolvers-unknown"
	// the granted network is not usable
	ReasonNetwork     Reason = "network"
	ReasonNotAccepted Reason = "not-accepted" // the network is not accepted; Subject: the network
	// it contains this machine's DNS server; Subject: the network
	ReasonHasResolver Reason = "has-resolver"
)
