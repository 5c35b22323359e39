package rtnl

// Lookup answers questions about what the kernel has, each about one thing or filtered by the
// kernel. Kernel is the real one.
type Lookup interface {
	// LinkByName and LinkByIndex return a zero Link if there is none.
	LinkByName(name string) (Link, error)
	LinkByIndex(index int) (Link, error)
	// Addrs returns the IPv4 addresses of an interface, of all for index 0.
	Addrs(index int) ([]Addr, error)
	// Routes calls visit for the IPv4 routes of a table, all for 0, by an interface, any for 0.
	Routes(table, index int, visit func(Route) bool) error
	// Rules returns the rules for IPv4, none if the kernel knows no rules.
	Rules() ([]Rule, error)
	// Networks6 and Routes6 are about IPv6. Networks6 returns the networks of interfaces, by
	// an address in each.
	Networks6() ([]Addr, error)
	Routes6(table int, visit func(Route) bool) error
	// Resolve returns what the kernel does with a packet, Match the table's entry by which it does
	// so.
	Resolve(flow Flow) (Route, error)
	Match(flow Flow) (Route, error)
}
