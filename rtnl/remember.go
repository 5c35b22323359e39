package rtnl

// Remember returns a Lookup that asks look about the addresses and the routes of an interface once,
// and then answers by what it has seen: it is for a comparison that asks about many of them.
func Remember(look Lookup) Lookup {
	return &memory{Lookup: look, addrs: map[int][]Addr{}, routes: map[tableOf][]Route{}}
}

type memory struct {
	Lookup

	addrs  map[int][]Addr
	routes map[tableOf][]Route
}

type tableOf struct{ table, index int }

// Addrs implements Lookup.
func (m *memory) Addrs(index int) ([]Addr, error) {
	if known, ok := m.addrs[index]; ok {
		return known, nil
	}
	all, err := m.Lookup.Addrs(index)
	if err == nil {
		m.addrs[index] = all
	}
	return all, err
}

// Routes implements Lookup.
func (m *memory) Routes(table, index int, visit func(Route) bool) error {
	key := tableOf{table, index}
	known, ok := m.routes[key]
	if !ok {
		err := m.Lookup.Routes(table, index, func(r Route) bool {
			known = append(known, r)
			return true
		})
		if err != nil {
			return err
		}
		m.routes[key] = known
	}
	for _, r := range known {
		if !visit(r) {
			break
		}
	}
	return nil
}
