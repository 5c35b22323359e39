package status

import (
	"tunnel/policy"
	"tunnel/transport/fq"
)

// AddDrops adds the packets that a queue has dropped to counts by reason. It adds nothing for a
// reason that counts does not have.
func AddDrops(counts map[string]uint64, d fq.Drops) {
	for reason, n := range map[policy.Verdict]uint64{policy.QueueFull: d.Full,
		policy.Memory: d.Memory, policy.CoDel: d.CoDel, policy.Stale: d.Stale, policy.Cut: d.Cut} {
		if _, ok := counts[reason.String()]; ok {
			counts[reason.String()] += n
		}
	}
}
