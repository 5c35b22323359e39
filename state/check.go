package state

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
)

// bbolt trusts its file: on a damaged page it panics, loops for ever, or allocates more memory than
// there is. So every page is checked here before bbolt opens the file. The layout is that of
// bbolt's internal/common.
const (
	pageHeaderLen = 16 // id uint64, flags uint16, count uint16, overflow uint32
	// of a branch: pos, ksize uint32, page uint64; of a leaf: flags, pos, ksize, vsize uint32
	elementLen = 16
	bucketLen  = 16 // root uint64, sequence uint64
	metaLen    = 64 // see metaOf

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagFreelist = 0x10
	leafIsBucket = 0x01

	metaMagic   = 0xED0CDAED
	metaVersion = 2
	noFreelist  = ^uint64(0)
)

// A meta is one of the two roots of a file; the one with the higher transaction id is valid.
type meta struct {
	pageSize, root, freelist, pages, transaction uint64
}

// metaOf reads the meta of the page that begins at an offset.
func metaOf(data []byte, at uint64) (m meta, ok bool) {
	if at+pageHeaderLen+metaLen > uint64(len(data)) {
		return meta{}, false
	}
	b := data[at+pageHeaderLen:]
	order := binary.NativeEndian
	sum := fnv.New64a()
	_, _ = sum.Write(b[:metaLen-8])
	if order.Uint32(b) != metaMagic || order.Uint32(b[4:]) != metaVersion ||
		order.Uint64(b[metaLen-8:]) != sum.Sum64() {
		return meta{}, false
	}
	return meta{
		pageSize: uint64(order.Uint32(b[8:])), root: order.Uint64(b[16:]),
		freelist: order.Uint64(b[32:]), pages: order.Uint64(b[40:]),
		transaction: order.Uint64(b[48:]),
	}, true
}

// checker walks the pages of a file.
type checker struct {
	data []byte
	meta meta
	seen map[uint64]bool // pages that are in use
}

// checkPages returns ErrDamaged unless bbolt can open a file with this content safely.
func checkPages(data []byte) error {
	first, ok := metaOf(data, 0)
	second, alsoOK := metaOf(data, first.pageSize)
	for size := uint64(1 << 10); !ok && !alsoOK && size <= 64<<10; size <<= 1 {
		second, alsoOK = metaOf(data, size)
	}
	if !ok && !alsoOK {
		return fmt.Errorf("%w: it is no database of ours", ErrDamaged)
	}
	c := checker{data: data, meta: first, seen: map[uint64]bool{0: true, 1: true}}
	if alsoOK && (!ok || second.transaction > first.transaction) {
		c.meta = second
	}
	size := c.meta.pageSize
	if size < 1<<10 || size > 64<<10 || c.meta.pages > uint64(len(data))/size {
		return fmt.Errorf("%w: %d bytes are left of %d pages", ErrDamaged, len(data), c.meta.pages)
	}
	if c.meta.freelist != noFreelist {
		if err := c.freelist(c.meta.freelist); err != nil {
			return err
		}
	}
	return c.tree(c.meta.root)
}

// page returns the page with this id, including its overflow pages, and marks them as in use.
func (c *checker) page(id uint64) (page []byte, flags, count uint16, err error) {
	if id >= c.meta.pages {
		return nil, 0, 0, fmt.Errorf("%w: there is no page %d", ErrDamaged, id)
	}
	header := c.data[id*c.meta.pageSize:]
	flags, count = binary.NativeEndian.Uint16(header[8:]), binary.NativeEndian.Uint16(header[10:])
	overflow := uint64(binary.NativeEndian.Uint32(header[12:]))
	if binary.NativeEndian.Uint64(header) != id || overflow >= c.meta.pages-id {
		return nil, 0, 0, fmt.Errorf("%w: page %d", ErrDamaged, id)
	}
	for i := id; i <= id+overflow; i++ {
		if c.seen[i] {
			return nil, 0, 0, fmt.Errorf("%w: page %d is there twice", ErrDamaged, i)
		}
		c.seen[i] = true
	}
	return header[:(overflow+1)*c.meta.pageSize], flags, count, nil
}

// freelist checks the list of free pages.
func (c *checker) freelist(id uint64) error {
	page, flags, short, err := c.page(id)
	if err != nil {
		return err
	}
	ids, count := page[pageHeaderLen:], uint64(short)
	if short == 0xffff { // the number is too large for the header
		count = binary.NativeEndian.Uint64(ids)
		ids = ids[8:]
	}
	if flags != flagFreelist || count > uint64(len(ids))/8 {
		return fmt.Errorf("%w: the list of free pages", ErrDamaged)
	}
	last := uint64(1)
	for i := range count {
		free := binary.NativeEndian.Uint64(ids[8*i:])
		if free <= last || free >= c.meta.pages || c.seen[free] {
			return fmt.Errorf("%w: the list of free pages", ErrDamaged)
		}
		c.seen[free], last = true, free
	}
	return nil
}

// tree checks a page and all pages below it.
func (c *checker) tree(id uint64) error {
	page, flags, count, err := c.page(id)
	if err != nil {
		return err
	}
	switch flags {
	case flagLeaf:
		return c.leaf(page, count)
	case flagBranch:
		if count == 0 || pageHeaderLen+int(count)*elementLen > len(page) {
			return fmt.Errorf("%w: page %d", ErrDamaged, id)
		}
		for i := range int(count) {
			at := pageHeaderLen + i*elementLen
			element := page[at:]
			pos, key := uint64(binary.NativeEndian.Uint32(element)),
				uint64(binary.NativeEndian.Uint32(element[4:]))
			if uint64(at)+pos+key > uint64(len(page)) {
				return fmt.Errorf("%w: page %d", ErrDamaged, id)
			}
			if err := c.tree(binary.NativeEndian.Uint64(element[8:])); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("%w: page %d", ErrDamaged, id)
}

// leaf checks a page of keys and values, with the buckets in it.
func (c *checker) leaf(page []byte, count uint16) error {
	bad := fmt.Errorf("%w: a page of keys and values", ErrDamaged)
	if pageHeaderLen+int(count)*elementLen > len(page) {
		return bad
	}
	for i := range int(count) {
		at := pageHeaderLen + i*elementLen
		element := page[at:]
		pos, key, value := uint64(binary.NativeEndian.Uint32(element[4:])),
			uint64(binary.NativeEndian.Uint32(element[8:])),
			uint64(binary.NativeEndian.Uint32(element[12:]))
		begin := uint64(at) + pos + key
		if key == 0 || begin+value > uint64(len(page)) {
			return bad
		}
		flags := binary.NativeEndian.Uint32(element)
		if flags&^leafIsBucket != 0 {
			return bad
		}
		if flags == 0 {
			continue
		}
		bucket := page[begin : begin+value]
		if len(bucket) < bucketLen {
			return bad
		}
		if root := binary.NativeEndian.Uint64(bucket); root != 0 {
			if err := c.tree(root); err != nil {
				return err
			}
			continue
		}
		inside := bucket[bucketLen:] // a small bucket is stored in the value
		if len(inside) < pageHeaderLen || binary.NativeEndian.Uint64(inside) != 0 ||
			binary.NativeEndian.Uint16(inside[8:]) != flagLeaf {
			return bad
		}
		if err := c.leaf(inside, binary.NativeEndian.Uint16(inside[10:])); err != nil {
			return err
		}
	}
	return nil
}
