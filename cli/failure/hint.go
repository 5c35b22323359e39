package failure

import "tunnel/transport"

// hint returns what to do about a failure to get a session, in terms of flags.
func hint(e *transport.StepError) string {
	const newToken = "ask for a new token, and give it with --token-file"
	const serverToken = "give the server's token with --token-file or TUNNEL_TOKEN"
	login := "TUNNEL_PROXY=" + e.Subject + "://USER:PASSWORD@HOST:PORT"
	hints := map[transport.Reason]string{
		transport.ReasonToken: serverToken,
		transport.ReasonTokenOrCert: serverToken +
			"; it may be bound to another certificate than --tls-cert's, the server's log says so",
		transport.ReasonTokenOver: newToken,
		transport.ReasonDoubtful: "that is not the server's own word" + e.Subject +
			": log in to this network or to the proxy in front " +
			"(--header Authorization=…), or, where the server is an older one, give its token " +
			"with --token-file",
		transport.ReasonHeader: "what is in front of the server, or a login page of this network, " +
			"refuses what --header " + e.Subject + "=… gives it: correct that",
		transport.ReasonURL:   "check the URL's host, port and path, and the server's --path",
		transport.ReasonProxy: "check --proxy or HTTPS_PROXY, or go without by --proxy none",
		transport.ReasonProxyFront: "a proxy on the path, or in front of the server, wants a " +
			"login: name a proxy of this network with --proxy, " +
			"or give what one in front wants with --header Proxy-Authorization=…",
		transport.ReasonProxyLogin: "give the user and password that it wants: " + login +
			" (unlike --proxy, other users of this machine cannot see it)",
		transport.ReasonProxyRefuses: "it refuses this user and password: correct them in " +
			login,
		transport.ReasonAuthority: "give its certificate with --ca FILE" + orPin(e.Subject) +
			" (and not a login page of this network)",
		transport.ReasonHostname: "use a name that the certificate has, or give the " +
			"--pin that the server prints; a login page of this network wants a browser first",
		transport.ReasonPin: "this is another server, or an attacker on the path; " +
			"if the server has a new key, use the --pin that it prints",
		transport.ReasonCertWanted: "the server demands a client certificate: give one " +
			"with --tls-cert FILE --tls-key FILE",
		transport.ReasonCertRefused: "the server refuses this client's certificate: give " +
			"one with --tls-cert that its --client-ca knows",
		transport.ReasonCertPerhaps: "the server may demand a client certificate " +
			"(--tls-cert, --tls-key) or another kind of TLS",
		transport.ReasonNetworkFull: "wait until a client leaves, or give the server a " +
			"larger --network",
		transport.ReasonSessions: "end another client that has this token, or let it " +
			"have more: --max-sessions of `tunnel token create` or of the server",
		transport.ReasonAddress: "ask for the first, third, fifth … address of the " +
			"network that nobody has, or leave --address out",
		transport.ReasonResolversUnknown: "let the program read that file, or accept the network " +
			"with --network " + e.Subject,
		transport.ReasonNetwork:     "choose another --network on the server",
		transport.ReasonNotAccepted: "if you expect it, accept it with --network " + e.Subject,
		transport.ReasonHasResolver: "if you expect it, accept it with --network " +
			e.Subject + "; else choose another --network on the server",
	}
	return hints[e.Reason] + e.Advice
}

// orPin offers a pin instead of an authority, for the user to compare; "" if there is none.
func orPin(pin string) string {
	if pin == "" {
		return ""
	}
	return ", or --pin " + pin + " if the server itself prints just that"
}
