package transport

// A Reason says what a person can do about a StepError where that is a matter of what the program
// was told: only who has told it knows the words. The Subject of the error is what the reason is
// about, and its Advice, if any, goes on behind the words.
type Reason string

// The reasons.
const (
	ReasonToken Reason = "token" // the server wants a token, or another
	// the same, or the token is bound to another certificate than the client's
	ReasonTokenOrCert Reason = "token-or-cert"
	ReasonTokenOver   Reason = "token-over" // the token has ended
	// something that may not be the server refuses; Subject: by which schemes, or ""
	ReasonDoubtful Reason = "doubtful"
	// the same, of a login that it was given; Subject: the header
	ReasonHeader Reason = "header"
	// the URL, or the path that the server was told, is wrong
	ReasonURL   Reason = "url"
	ReasonProxy Reason = "proxy" // the proxy cannot be reached
	// a proxy that nobody has named wants a user and a password
	ReasonProxyFront Reason = "proxy-front"
	// the proxy wants a user and a password; Subject: its scheme
	ReasonProxyLogin   Reason = "proxy-login"
	ReasonProxyRefuses Reason = "proxy-refuses" // it refuses those; Subject: its scheme
	// no authority is known for the certificate; Subject: the key's pin, or ""
	ReasonAuthority   Reason = "authority"
	ReasonHostname    Reason = "hostname"     // the certificate is for another name
	ReasonPin         Reason = "pin"          // the server's key is another
	ReasonCertWanted  Reason = "cert-wanted"  // the server demands a client certificate
	ReasonCertRefused Reason = "cert-refused" // it refuses the client's
	ReasonCertPerhaps Reason = "cert-perhaps" // it may be that it demands one
	ReasonNetworkFull Reason = "network-full" // the server has no address left
	// the token has as many sessions as it may have
	ReasonSessions Reason = "sessions"
	// the address that was asked for is not to be had
	ReasonAddress Reason = "address"
	// this machine's DNS servers are not known; Subject: the network that is granted
	ReasonResolversUnknown Reason = "resolvers-unknown"
	// the network that is granted is no good one
	ReasonNetwork     Reason = "network"
	ReasonNotAccepted Reason = "not-accepted" // it is not accepted; Subject: the network
	// it contains this machine's DNS server; Subject: the network
	ReasonHasResolver Reason = "has-resolver"
)
