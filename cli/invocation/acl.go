package invocation

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A POSIX access list as getxattr(2) returns it (include/uapi/linux/posix_acl_xattr.h): a header
// with the version, then entries of a tag, permissions and the number of a user or group.
const (
	aclName    = "system.posix_acl_access"
	aclVersion = 2
	aclHeader  = 4
	aclEntry   = 8
	aclMost    = 64 << 10 // XATTR_SIZE_MAX

	aclUser  = 0x02
	aclGroup = 0x08
	aclMask  = 0x10
	aclWrite = 2 // of the permissions
)

// An attribute reads an extended attribute of a file, as getxattr(2) does.
type attribute func(name string, dest []byte) (int, error)

// listed returns which user other than root and the owner, whose uid is given, may write to a file
// by its access list, or why that is not known; "" if none may.
func listed(read attribute, owner int) string {
	list := make([]byte, aclMost)
	n, err := read(aclName, list)
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		return ""
	case err != nil:
		return fmt.Sprintf("its access list cannot be read: %v", err)
	case n < aclHeader || binary.LittleEndian.Uint32(list) != aclVersion:
		return "its access list is of an unknown kind"
	}
	return writer(list[aclHeader:n], owner)
}

// writer is listed for the entries of an access list.
func writer(entries []byte, owner int) (who string) {
	for ; len(entries) >= aclEntry; entries = entries[aclEntry:] {
		tag := binary.LittleEndian.Uint16(entries)
		writes := binary.LittleEndian.Uint16(entries[2:])&aclWrite != 0
		id := int64(binary.LittleEndian.Uint32(entries[4:]))
		switch {
		case tag == aclMask && !writes: // it bounds all entries of users and groups
			return ""
		case !writes, id == int64(owner):
		case tag == aclUser && !trusted(int(id)):
			who = fmt.Sprintf("its access list names user %d", id)
		case tag == aclGroup && id != 0:
			who = fmt.Sprintf("its access list names group %d", id)
		}
	}
	return who
}
