package transport

// A Reason says what a person can do about a StepError where that is a matter of what the program was told: only who has told
// it knows the words. The Subject of the error is what the reason is about, and its Advice, if any, goes on behind the words.
type Reason string

// The reasons.
const (
	ReasonToken            Reason = "token"             // the server wants a token, or another
	ReasonTokenOrCert      Reason = "token-or-cert"     // the same, or the token is bound to another certificate than the client's
	ReasonTokenOver        Reason = "token-over"        // the token has ended
	ReasonDoubtful         Reason = "doubtful"          // something that may not be the server refuses; Subject: by which schemes, or ""
	ReasonHeader           Reason = "header"            // the same, of a login that it was given; Subject: the header
	ReasonURL              Reason = "url"               // the URL, or the path that the server was told, is wrong
	ReasonProxy            Reason = "proxy"             // the proxy cannot be reached
	ReasonProxyFront       Reason = "proxy-front"       // a proxy that nobody has named wants a user and a password
	ReasonProxyLogin       Reason = "proxy-login"       // the proxy wants a user and a password; Subject: its scheme
	ReasonProxyRefuses     Reason = "proxy-refuses"     // it refuses those; Subject: its scheme
	ReasonAuthority        Reason = "authority"         // no authority is known for the certificate; Subject: the key's pin, or ""
	ReasonHostname         Reason = "hostname"          // the certificate is for another name
	ReasonPin              Reason = "pin"               // the server's key is another
	ReasonCertWanted       Reason = "cert-wanted"       // the server demands a client certificate
	ReasonCertRefused      Reason = "cert-refused"      // it refuses the client's
	ReasonCertPerhaps      Reason = "cert-perhaps"      // it may be that it demands one
	ReasonNetworkFull      Reason = "network-full"      // the server has no address left
	ReasonSessions         Reason = "sessions"          // the token has as many sessions as it may have
	ReasonAddress          Reason = "address"           // the address that was asked for is not to be had
	ReasonResolversUnknown Reason = "resolvers-unknown" // this machine's DNS servers are not known; Subject: the network that is granted
	ReasonNetwork          Reason = "network"           // the network that is granted is no good one
	ReasonNotAccepted      Reason = "not-accepted"      // it is not accepted; Subject: the network
	ReasonHasResolver      Reason = "has-resolver"      // it contains this machine's DNS server; Subject: the network
)
