package nftcmd

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Parse returns the table of that name from the output of List (libnftables-json(5)). What this
// program does not write, such as a named set or a chain without a hook, is in the Table in a form
// that makes it differ from all that it does write.
func Parse(output []byte, name string) (Table, error) {
	var listing struct {
		Objects []map[string]json.RawMessage `json:"nftables"`
	}
	if err := json.Unmarshal(output, &listing); err != nil {
		return Table{}, fmt.Errorf("read what nft prints: %w", err)
	}
	t := Table{Name: name}
	found, counting := false, map[string]bool{}
	for _, object := range listing.Objects {
		for kind, raw := range object {
			switch kind {
			case "metainfo":
			case "table":
				found = true
			case "chain":
				if err := t.addChain(raw); err != nil {
					return Table{}, err
				}
			case "rule":
				if err := t.addRule(raw); err != nil {
					return Table{}, err
				}
			case "set":
				lease, isLease := parseLease(raw)
				name, isCounting := parseCounting(raw)
				switch {
				case isLease && t.Lease == 0:
					t.Lease = lease
				case isCounting && !counting[name]:
					counting[name] = true
					t.Counting = len(counting) == 2
				default:
					t.Chains = append(t.Chains, Chain{Name: kind, Rules: []string{string(raw)}})
				}
			default:
				t.Chains = append(t.Chains, Chain{Name: kind, Rules: []string{string(raw)}})
			}
		}
	}
	if !found {
		return Table{}, fmt.Errorf("read what nft prints: no table %s", name)
	}
	return t, nil
}

// ParseChains returns the tables from the output of ListChains, without their rules.
func ParseChains(output []byte) (all []Table, err error) {
	var listing struct {
		Objects []struct {
			Chain json.RawMessage `json:"chain"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(output, &listing); err != nil {
		return nil, fmt.Errorf("read what nft prints: %w", err)
	}
	for _, object := range listing.Objects {
		if object.Chain == nil {
			continue
		}
		var of struct {
			Table string `json:"table"`
		}
		if err := json.Unmarshal(object.Chain, &of); err != nil {
			return nil, fmt.Errorf("read what nft prints of a chain: %w", err)
		}
		at := slices.IndexFunc(all, func(t Table) bool { return t.Name == of.Table })
		if at < 0 {
			at = len(all)
			all = append(all, Table{Name: of.Table})
		}
		if err := all[at].addChain(object.Chain); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (t *Table) addChain(raw json.RawMessage) error {
	var c struct {
		Name   string `json:"name"`
		Type   string `json:"type"`
		Hook   string `json:"hook"`
		Prio   int    `json:"prio"`
		Policy string `json:"policy"`
		// of the hook ingress, a name or, since nft 1.1, a list
		Dev json.RawMessage `json:"dev"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return fmt.Errorf("read what nft prints of a chain: %w", err)
	}
	if len(c.Dev) > 0 {
		c.Hook += " device " + string(c.Dev)
	}
	t.Chains = append(t.Chains,
		Chain{Name: c.Name, Type: c.Type, Hook: c.Hook, Priority: c.Prio, Policy: c.Policy})
	return nil
}

// addRule adds a rule to its chain, which nft prints before it.
func (t *Table) addRule(raw json.RawMessage) error {
	var r struct {
		Chain string            `json:"chain"`
		Expr  []json.RawMessage `json:"expr"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("read what nft prints of a rule: %w", err)
	}
	for i := range t.Chains {
		if t.Chains[i].Name == r.Chain {
			t.Chains[i].Rules = append(t.Chains[i].Rules, ruleText(r.Expr))
			return nil
		}
	}
	return fmt.Errorf("read what nft prints: a rule of the chain %q, which is not there", r.Chain)
}
