package keep

import (
	"context"

	"tunnel/firewall"
	"tunnel/sysctl"
)

// SetForwarding makes rules and sysctls those of the Want, in place of its own. Before Set it does
// nothing, and while the Want is withdrawn they are only noted. The errors are those of Check; the
// rules and sysctls are maintained from then on in any case.
func (k *Keeper) SetForwarding(ctx context.Context, rules firewall.Rules,
	sysctls []sysctl.Setting) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.want.IsZero() {
		return nil
	}
	k.want.Firewall, k.want.Sysctls = rules, sysctls
	if k.withdrawn != nil {
		return nil
	}
	return k.apply(ctx, k.want, k.more, k.names)
}
