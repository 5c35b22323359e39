package invocation

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// accessList returns an access list as `setfacl` sets it: user::rwx, group::r--, a mask and
// other::---, around an entry for a named user or group.
func accessList(tag, perm uint16, id uint32, mask uint16) []byte {
	const owner, group, other, nobody = 0x01, 0x04, 0x20, 0xffffffff
	list := binary.LittleEndian.AppendUint32(nil, aclVersion)
	add := func(tag, perm uint16, id uint32) {
		list = binary.LittleEndian.AppendUint16(list, tag)
		list = binary.LittleEndian.AppendUint16(list, perm)
		list = binary.LittleEndian.AppendUint32(list, id)
	}
	add(owner, 7, nobody)
	if tag == aclUser {
		add(tag, perm, id)
	}
	add(group, 4, nobody)
	if tag == aclGroup {
		add(tag, perm, id)
	}
	add(aclMask, mask, nobody)
	add(other, 0, nobody)
	return list
}

// A file to which others may write by an access list, or whose directory has such a list, is
// refused. All files are root's and of root's group.
func TestAccessLists(t *testing.T) {
	for what, test := range map[string]struct {
		list []byte
		want string // part of the error for the file; "" is none
	}{
		"a user who writes":    {accessList(aclUser, 6, 4321, 6), "names user 4321): `setfacl -b` it"},
		"a user who reads":     {accessList(aclUser, 4, 4321, 6), ""},
		"a masked user":        {accessList(aclUser, 6, 4321, 4), ""},
		"root":                 {accessList(aclUser, 6, 0, 6), ""},
		"a group that writes":  {accessList(aclGroup, 6, 4321, 6), "names group 4321): `setfacl -b` it"},
		"a group that reads":   {accessList(aclGroup, 4, 4321, 6), ""},
		"root's group by name": {accessList(aclGroup, 6, 0, 6), ""},
	} {
		for _, onDir := range []bool{false, true} {
			dir := filepath.Join(t.TempDir(), "dir")
			file := filepath.Join(dir, "file")
			at := file
			if onDir {
				at = dir
			}
			if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(file, nil, 0o600),
				unix.Setxattr(at, aclName, test.list, 0)); err != nil {
				t.Fatal(err)
			}
			f, err := OpenFile(file)
			if (err == nil) != (test.want == "") ||
				err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s, of the directory: %v: %v; want %q", what, onDir, err, test.want)
			}
			if err == nil {
				_ = f.Close()
			}
		}
	}
	unreadable := func(string, []byte) (int, error) { return 0, unix.EPERM }
	if how := others(unix.Stat_t{Mode: 0o660}, unreadable); !strings.Contains(how, "cannot be read") {
		t.Errorf("a list that cannot be read: %q", how)
	}
}
