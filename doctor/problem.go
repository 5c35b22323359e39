package doctor

// A Problem names what is wrong, for scripts. docs/DOCTOR.md lists them.
type Problem string

// The problems of a machine.
const (
	NoCapability  Problem = "no-capability"    // CAP_NET_ADMIN
	NoTunDriver   Problem = "no-tun-driver"    // /dev/net/tun
	NoDevice      Problem = "no-device"        // the kernel makes none, for another reason
	NoIP          Problem = "no-ip"            // the program ip
	IPUnsuitable  Problem = "ip-unsuitable"    // ip is too old, or BusyBox's
	NoNft         Problem = "no-nft"           // the program nft
	NftRefuses    Problem = "nft-refuses"      // nft, or the kernel below it
	NamesReadOnly Problem = "names-read-only"  // DNS servers of the tunnel cannot be set
	StrictFilter  Problem = "rp-filter-strict" // answers by another interface are dropped
	NoForwarding  Problem = "forwarding-off"   // and it cannot be switched on
	DiskFull      Problem = "disk-full"
	NotWritable   Problem = "not-writable"   // a directory of the program's files
	ForeignRoutes Problem = "foreign-routes" // a program removes routes that it did not make
	OtherVPN      Problem = "other-vpn"      // it has the default route
	Leftovers     Problem = "leftovers"      // of a killed run
	ClockWrong    Problem = "clock-wrong"    // of this machine
	NoStart       Problem = "start-refused"  // what the configuration wants cannot be had here
	NotReadable   Problem = "not-readable"   // what a check has to see
)

// The problems of a path.
const (
	NameNotFound       Problem = "name-not-found"
	NameServerSilent   Problem = "name-server-silent"
	NameLies           Problem = "dns-lies" // an answer that cannot be true
	PortClosed         Problem = "port-closed"
	NoAnswer           Problem = "no-answer"    // packets vanish
	NoRoute            Problem = "no-route"     // from this machine
	ProxyRefuses       Problem = "proxy"        // or cannot be reached
	TLSIntercepted     Problem = "intercepted"  // TLS ends before the server
	UnknownAuthority   Problem = "authority"    // nobody vouches for the certificate
	CertificateName    Problem = "wrong-name"   // the certificate is for another name
	CertificateExpired Problem = "expired"      // or not valid yet
	CertificateEnds    Problem = "expires-soon" // the certificate
	TLSFails           Problem = "tls"
	NotEncrypted       Problem = "not-encrypted" // ws:// beyond this machine
	CaptivePortal      Problem = "captive-portal"
	UpgradeDropped     Problem = "upgrade-dropped" // by a proxy in front of the server
	NotAServer         Problem = "not-a-server"
	ServerBusy         Problem = "busy"
	NoToken            Problem = "no-token" // none was given
	TokenRefused       Problem = "token-refused"
	ClosedAtOnce       Problem = "closed"   // by the server, after the upgrade
	MTUHole            Problem = "mtu-hole" // large packets vanish
	Lossy              Problem = "loss"
	Slow               Problem = "slow"
)

// Problems returns all problems.
func Problems() []Problem {
	return []Problem{
		NoCapability, NoTunDriver, NoDevice, NoIP, IPUnsuitable, NoNft, NftRefuses, NamesReadOnly,
		StrictFilter, NoForwarding, DiskFull, NotWritable, ForeignRoutes, OtherVPN, Leftovers,
		ClockWrong, NoStart, NotReadable,
		NameNotFound, NameServerSilent, NameLies, PortClosed, NoAnswer, NoRoute, ProxyRefuses,
		TLSIntercepted, UnknownAuthority, CertificateName, CertificateExpired, CertificateEnds,
		TLSFails, NotEncrypted, CaptivePortal, UpgradeDropped, NotAServer, ServerBusy, NoToken,
		TokenRefused, ClosedAtOnce, MTUHole, Lossy, Slow,
	}
}
