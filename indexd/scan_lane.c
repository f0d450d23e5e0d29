/* Finds every window of the patterns in a piece of a file.
 *
 * The path: every @stride bytes of the file a word of 8 bytes is looked up in a sieve (a Bloom filter, the only thing
 * that most words meet), then in a table of the words that stand at every @step bytes of each pattern; where it is
 * known, the bytes around it are compared. Stride and step have no common factor, and stride x step <= match - 7: so in
 * every window that is equal, at whatever offsets, one pair of positions meets (Chinese remainder theorem). Few
 * patterns: step 1 and a wide stride; many: a table that stays small.
 *
 * What can go wrong: a word that is common in the patterns (zeros, a repeated component, the same row many times) would
 * be compared against all of its places, again and again. It is kept in the table at most COMMON times. From there on
 * the windows themselves are looked up that hold it, by a rolling hash, equal ones kept once: a few nanoseconds a byte
 * at worst, whatever the patterns and the files hold, and nothing is missed. */
#include <stdlib.h>
#include <sys/mman.h>

#include "scan_private.h"

#define WORD         ((size_t)8)
#define COMMON       4
#define COMMON_BIT   0x80000000u
#define WORDS_MAX    ((uint64_t)COMMON_BIT - 2)
#define WORDS_WANTED ((uint64_t)8 << 20) /* more: a wider step */
#define HUGE_PAGE    ((size_t)2 << 20)
#define WINDOWS_MAX  ((size_t)16 << 20)
#define MULTIPLIER   0x9e3779b97f4a7c15u /* of the rolling hash */
#define AT_ONCE      32                  /* places in a table that are asked for together */
#define FEW_WORDS    ((uint64_t)1 << 15) /* their sieve fits the nearest caches with one bit in 32 to a word */
#define FEW_AT_ONCE  8

static inline uint64_t load(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    return word;
}

static inline uint64_t mix(uint64_t word)
{
    word *= 0xff51afd7ed558ccdu;
    word ^= word >> 32;
    return word * 0xc4ceb9fe1a85ec53u;
}

/* Of many words: three bits of one word of the sieve. */
static inline uint64_t sieve_mask(uint64_t hash)
{
    return (uint64_t)1 << (hash & 63) | (uint64_t)1 << (hash >> 6 & 63) | (uint64_t)1 << (hash >> 12 & 63);
}

static inline bool passes(const uint64_t *sieve, unsigned bits, uint64_t hash)
{
    uint64_t mask = sieve_mask(hash);
    return (sieve[hash >> (64 - bits)] & mask) == mask;
}

/* Of few words: a single bit, for little arithmetic. */
static inline uint64_t few_bit(uint64_t word, unsigned bits)
{
    return word * MULTIPLIER >> (64 - 6 - bits);
}

static inline bool passes_few(const uint64_t *sieve, unsigned bits, uint64_t word)
{
    uint64_t bit = few_bit(word, bits);
    return (sieve[bit / 64] >> bit % 64 & 1) != 0;
}

static void put_in_sieve(struct gx_scan_lane *lane, uint64_t word)
{
    uint64_t bit = few_bit(word, lane->sieve_bits), hash = mix(word);
    if (lane->few)
        lane->sieve[bit / 64] |= (uint64_t)1 << bit % 64;
    else
        lane->sieve[hash >> (64 - lane->sieve_bits)] |= sieve_mask(hash);
}

static inline bool may_be_known(const struct gx_scan_lane *lane, uint64_t word)
{
    return lane->few ? passes_few(lane->sieve, lane->sieve_bits, word)
                     : passes(lane->sieve, lane->sieve_bits, mix(word));
}

static inline uint32_t slot_of(uint64_t hash, unsigned bits)
{
    return (uint32_t)(hash >> 18) & (uint32_t)(((uint64_t)1 << bits) - 1);
}

/* Half of the hash, in the upper half of a slot: who differs in it need not be looked up in the patterns. */
static inline uint64_t tag_of(uint64_t hash)
{
    return hash & 0xffffffff00000000u;
}

static inline uint32_t number_in(uint64_t slot)
{
    return ((uint32_t)slot & ~COMMON_BIT) - 1;
}

static unsigned bits_for(uint64_t n, unsigned least)
{
    unsigned bits = least;
    while (((uint64_t)1 << bits) < n)
        bits++;
    return bits;
}

/* Cleared memory for a table, on huge pages: nearly every access is to another page. */
static void *new_table(size_t n, size_t size)
{
    size_t bytes = n * size;
    if (bytes < HUGE_PAGE)
        return calloc(n, size);
    void *table = aligned_alloc(HUGE_PAGE, (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
    if (table == NULL)
        return NULL;
    (void)madvise(table, bytes, MADV_HUGEPAGE);
    return memset(table, 0, bytes);
}

/* --- windows that count --- */

/* Bytes of the window at @offset that differ from the byte 8 before them; counted no further than is enough. */
static size_t detail_at(const struct gx_scan_pattern *pattern, size_t offset)
{
    size_t detail = 0;
    for (size_t i = offset + WORD; i < offset + pattern->min_match && detail < pattern->min_detail; i++)
        detail += pattern->bytes[i] != pattern->bytes[i - WORD];
    return detail;
}

/* The first window in [from, until] that counts; until + 1 when there is none. */
static size_t first_counting(const struct gx_scan_pattern *pattern, size_t from, size_t until)
{
    if (pattern->min_detail == 0 || from > until)
        return from;
    size_t detail = detail_at(pattern, from);
    const uint8_t *bytes = pattern->bytes;
    for (; detail < pattern->min_detail; from++) {
        if (from == until)
            return until + 1;
        detail -= bytes[from + WORD] != bytes[from];
        detail += bytes[from + pattern->min_match] != bytes[from + pattern->min_match - WORD];
    }
    return from;
}

bool gx_scan_can_hit(const struct gx_scan_pattern *pattern)
{
    size_t last = pattern->len - pattern->min_match;
    return first_counting(pattern, 0, last) <= last;
}

/* --- the table of words --- */

static const struct gx_scan_pattern *member(const struct gx_scan_lane *lane, size_t i)
{
    return &lane->patterns[lane->members[i]];
}

static size_t n_words(const struct gx_scan_pattern *pattern, size_t step)
{
    return (pattern->len - WORD) / step + 1;
}

/* Where word @number stands. */
static void locate(const struct gx_scan_lane *lane, uint32_t number, size_t *out_member, size_t *out_offset)
{
    size_t low = 0, high = lane->n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (lane->first_word[middle] <= number)
            low = middle;
        else
            high = middle;
    }
    *out_member = low;
    *out_offset = (number - lane->first_word[low]) * lane->step;
}

/* The next slot from *slot on that holds @word; false at the end of them. */
static bool find_word(const struct gx_scan_lane *lane, uint64_t word, uint32_t *slot, size_t *out_member,
                      size_t *out_offset)
{
    uint32_t last = (uint32_t)(((uint64_t)1 << lane->slot_bits) - 1);
    uint64_t tag = tag_of(mix(word));
    for (; lane->slots[*slot] != 0; *slot = (*slot + 1) & last) {
        if (tag_of(lane->slots[*slot]) != tag)
            continue;
        locate(lane, number_in(lane->slots[*slot]), out_member, out_offset);
        if (load(member(lane, *out_member)->bytes + *out_offset) == word)
            return true;
    }
    return false;
}

static bool is_common(const struct gx_scan_lane *lane, uint64_t word)
{
    uint32_t slot = slot_of(mix(word), lane->slot_bits);
    size_t m, offset;
    return find_word(lane, word, &slot, &m, &offset) && (lane->slots[slot] & COMMON_BIT) != 0;
}

/* *out_common: it has become common, or was. */
static void put_word(struct gx_scan_lane *lane, uint64_t word, uint32_t number, bool *out_common)
{
    uint64_t hash = mix(word);
    uint32_t last = (uint32_t)(((uint64_t)1 << lane->slot_bits) - 1);
    uint32_t slot = slot_of(hash, lane->slot_bits), first = slot;
    size_t m, offset, n = 0;
    while (find_word(lane, word, &slot, &m, &offset)) {
        if (n++ == 0)
            first = slot;
        if ((lane->slots[slot] & COMMON_BIT) != 0 || n == COMMON) {
            lane->slots[first] |= COMMON_BIT;
            *out_common = true;
            return;
        }
        slot = (slot + 1) & last;
    }
    lane->slots[slot] = tag_of(hash) | (number + 1);
    put_in_sieve(lane, word);
}

/* Words that stand in no window that counts are left out. */
static void put_words(struct gx_scan_lane *lane, size_t i, bool *out_common)
{
    const struct gx_scan_pattern *p = member(lane, i);
    size_t last = p->len - p->min_match, counting = first_counting(p, 0, last);
    for (size_t n = 0; n < n_words(p, lane->step); n++) {
        /* Their places come from memory together. Not a function: GCC would leave it out as one without effect. */
        for (size_t ahead = n; n % AT_ONCE == 0 && ahead < GX_MIN(n + AT_ONCE, n_words(p, lane->step)); ahead++) {
            uint64_t hash = mix(load(p->bytes + ahead * lane->step));
            __builtin_prefetch(&lane->slots[slot_of(hash, lane->slot_bits)], 1);
            if (!lane->few)
                __builtin_prefetch(&lane->sieve[hash >> (64 - lane->sieve_bits)], 1);
        }
        size_t at = n * lane->step, lowest = at + WORD > p->min_match ? at + WORD - p->min_match : 0;
        if (counting < lowest)
            counting = first_counting(p, lowest, last);
        if (counting > last)
            break;
        if (counting <= at)
            put_word(lane, load(p->bytes + at), lane->first_word[i] + (uint32_t)n, out_common);
    }
}

/* --- the table of windows --- */

static uint64_t window_hash(const uint8_t *bytes, size_t n)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < n; i++)
        hash = hash * MULTIPLIER + bytes[i] + 1;
    return hash;
}

static inline uint64_t roll(const struct gx_scan_lane *lane, uint64_t hash, uint8_t leaves, uint8_t enters)
{
    return (hash - ((uint64_t)leaves + 1) * lane->leaving) * MULTIPLIER + enters + 1;
}

static const uint8_t *window_bytes(const struct gx_scan_lane *lane, const struct gx_scan_window *w)
{
    return member(lane, w->member)->bytes + w->offset;
}

/* The slot of the window with these bytes, or the free one where it belongs. */
static uint32_t find_window(const struct gx_scan_lane *lane, uint64_t hash, const uint8_t *bytes)
{
    uint32_t last = (uint32_t)(((uint64_t)1 << lane->window_bits) - 1);
    uint32_t slot = slot_of(mix(hash), lane->window_bits);
    for (; lane->window_slots[slot] != 0; slot = (slot + 1) & last) {
        const struct gx_scan_window *w = &lane->windows[lane->window_slots[slot] - 1];
        if (w->hash == hash && memcmp(window_bytes(lane, w), bytes, lane->match) == 0)
            break;
    }
    return slot;
}

/* Makes both tables twice as large, and fills them again with the windows that lead. */
static enum gx_status grow_windows(struct gx_scan_lane *lane, struct gx_err *err)
{
    size_t cap = lane->cap_windows == 0 ? 4096 : lane->cap_windows * 2;
    unsigned bits = bits_for(cap * 2, 4);
    if (cap > WINDOWS_MAX)
        return gx_fail(err, GX_E_TOO_LARGE,
                       "the patterns to look for repeat each other too often: take fewer at a time");
    struct gx_scan_window *windows = realloc(lane->windows, cap * sizeof(*windows));
    if (windows != NULL)
        lane->windows = windows;
    uint32_t *slots = new_table((size_t)1 << bits, sizeof(*slots));
    uint64_t *sieve = new_table((size_t)1 << (bits - 3), sizeof(*sieve));
    uint32_t *old = lane->window_slots;
    if (windows == NULL || slots == NULL || sieve == NULL) {
        free(slots);
        free(sieve);
        return gx_fail(err, GX_E_NOMEM, "prepare a scan: out of memory");
    }
    size_t n_old = old == NULL ? 0 : (size_t)1 << lane->window_bits;
    free(lane->window_sieve);
    lane->cap_windows = cap;
    lane->window_slots = slots;
    lane->window_sieve = sieve;
    lane->window_bits = bits;
    for (size_t i = 0; i < n_old; i++) {
        if (old[i] == 0)
            continue;
        const struct gx_scan_window *w = &lane->windows[old[i] - 1];
        uint64_t hash = mix(w->hash);
        slots[find_window(lane, w->hash, window_bytes(lane, w))] = old[i];
        sieve[hash >> (64 - (bits - 3))] |= sieve_mask(hash);
    }
    free(old);
    return GX_OK;
}

static enum gx_status put_window(struct gx_scan_lane *lane, size_t i, size_t offset, uint64_t hash, struct gx_err *err)
{
    if (lane->n_windows == lane->cap_windows)
        GX_TRY(grow_windows(lane, err));
    uint32_t *slot = &lane->window_slots[find_window(lane, hash, member(lane, i)->bytes + offset)];
    struct gx_scan_window *leader = *slot == 0 ? NULL : &lane->windows[*slot - 1];
    /* Members come one after the other: the same one again would be the leader's latest, or the leader itself. */
    if (leader != NULL && (leader->member == i || (leader->same != 0 && lane->windows[leader->same - 1].member == i)))
        return GX_OK;
    struct gx_scan_window *w = &lane->windows[lane->n_windows++];
    *w = (struct gx_scan_window){.hash = hash, .member = (uint32_t)i, .offset = (uint32_t)offset};
    if (leader != NULL) {
        w->same = leader->same;
        leader->same = (uint32_t)lane->n_windows;
        return GX_OK;
    }
    *slot = (uint32_t)lane->n_windows;
    uint64_t mixed = mix(hash);
    lane->window_sieve[mixed >> (64 - (lane->window_bits - 3))] |= sieve_mask(mixed);
    return GX_OK;
}

/* Those windows of a pattern that count and hold a common word of the table. */
static enum gx_status put_windows(struct gx_scan_lane *lane, size_t i, struct gx_err *err)
{
    const struct gx_scan_pattern *p = member(lane, i);
    size_t last = p->len - p->min_match, counting = 0, common = 0;
    bool has_common = false;
    uint64_t hash = window_hash(p->bytes, p->min_match);
    for (size_t at = 0; at <= last; at++) {
        /* The first common word at or after the window's start. */
        if (!has_common || common < at) {
            common = (at + lane->step - 1) / lane->step * lane->step;
            while (common + WORD <= p->len && !is_common(lane, load(p->bytes + common)))
                common += lane->step;
            has_common = common + WORD <= p->len;
            if (!has_common)
                break;
        }
        if (counting < at || at == 0)
            counting = first_counting(p, at, last);
        if (counting > last)
            break;
        if (counting == at && common + WORD <= at + p->min_match)
            GX_TRY(put_window(lane, i, at, hash, err));
        if (at < last)
            hash = roll(lane, hash, p->bytes[at], p->bytes[at + p->min_match]);
    }
    return GX_OK;
}

/* --- making and ending --- */

static size_t common_factor(size_t a, size_t b)
{
    return b == 0 ? a : common_factor(b, a % b);
}

/* The widest stride with the narrowest step that keeps the table small. */
static void choose_strides(struct gx_scan_lane *lane, uint64_t n_bytes)
{
    size_t room = lane->match - (WORD - 1);
    lane->step = 1;
    while (n_bytes / lane->step > WORDS_WANTED && (lane->step + 1) * 8 <= room)
        lane->step++;
    lane->stride = room / lane->step;
    while (common_factor(lane->stride, lane->step) > 1)
        lane->stride--;
}

static enum gx_status make_tables(struct gx_scan_lane *lane, struct gx_err *err)
{
    uint64_t n_bytes = 0, total = 0;
    for (size_t i = 0; i < lane->n; i++)
        n_bytes += member(lane, i)->len;
    choose_strides(lane, n_bytes);
    lane->first_word = calloc(lane->n + 1, sizeof(*lane->first_word));
    if (lane->first_word == NULL)
        return gx_fail(err, GX_E_NOMEM, "prepare a scan: out of memory");
    for (size_t i = 0; i < lane->n; i++) {
        total += n_words(member(lane, i), lane->step);
        if (total > WORDS_MAX)
            return gx_fail(err, GX_E_TOO_LARGE, "too many bytes to look for: take fewer patterns at a time");
        lane->first_word[i + 1] = (uint32_t)total;
    }
    lane->slot_bits = bits_for(total + total / 2, 10);
    lane->few = total <= FEW_WORDS;
    lane->sieve_bits = bits_for(lane->few ? total / 2 : total / 4, 11);
    lane->slots = new_table((size_t)1 << lane->slot_bits, sizeof(*lane->slots));
    lane->sieve = new_table((size_t)1 << lane->sieve_bits, sizeof(*lane->sieve));
    if (lane->slots == NULL || lane->sieve == NULL)
        return gx_fail(err, GX_E_NOMEM, "prepare a scan: out of memory");
    return GX_OK;
}

enum gx_status gx_scan_lane_init(struct gx_scan_lane *lane, const struct gx_scan_pattern *patterns, size_t n,
                                 size_t match, struct gx_err *err)
{
    *lane = (struct gx_scan_lane){.match = match, .patterns = patterns, .leaving = 1};
    lane->members = calloc(n, sizeof(*lane->members));
    if (lane->members == NULL)
        return gx_fail(err, GX_E_NOMEM, "prepare a scan: out of memory");
    for (size_t i = 0; i < n; i++)
        if (patterns[i].min_match == match)
            lane->members[lane->n++] = (uint32_t)i;
    for (size_t i = 1; i < match; i++)
        lane->leaving *= MULTIPLIER;
    GX_TRY(make_tables(lane, err));
    bool common = false;
    for (size_t i = 0; i < lane->n; i++)
        put_words(lane, i, &common);
    for (size_t i = 0; common && i < lane->n; i++)
        GX_TRY(put_windows(lane, i, err));
    return GX_OK;
}

void gx_scan_lane_fini(struct gx_scan_lane *lane)
{
    free(lane->members);
    free(lane->first_word);
    free(lane->sieve);
    free(lane->slots);
    free(lane->windows);
    free(lane->window_sieve);
    free(lane->window_slots);
    *lane = (struct gx_scan_lane){0};
}

/* --- looking --- */

struct look {
    const struct gx_scan_lane *lane;
    struct gx_scan_place *place;
    const struct gx_scan_piece *piece;
    const bool *seen;
    gx_scan_found *found;
    void *found_arg;
};

/* The piece has @n bytes equal to the pattern's from @offset on; reports the run up to where it ends. */
static void report(struct look *l, size_t pattern, size_t at, size_t offset, size_t n)
{
    const struct gx_scan_pattern *p = &l->lane->patterns[pattern];
    const uint8_t *bytes = l->piece->bytes;
    while (at + n < l->piece->len && offset + n < p->len && bytes[at + n] == p->bytes[offset + n])
        n++;
    uint64_t from = l->piece->offset + at, until = from + n;
    l->found(l->found_arg, pattern, from, until);
    l->place->covered = GX_MAX(l->place->covered, until);
}

/* The word at @at of the piece is that at @offset of the pattern. */
static void compare(struct look *l, size_t pattern, size_t at, size_t offset)
{
    const struct gx_scan_pattern *p = &l->lane->patterns[pattern];
    if (l->seen[pattern] && l->piece->offset + at + WORD <= l->place->covered)
        return;
    const uint8_t *bytes = l->piece->bytes;
    size_t left = 0, left_max = GX_MIN(GX_MIN(at, offset), p->min_match - WORD);
    size_t right = WORD, right_max = GX_MIN(GX_MIN(l->piece->len - at, p->len - offset), p->min_match);
    while (left < left_max && bytes[at - left - 1] == p->bytes[offset - left - 1])
        left++;
    while (right < right_max && bytes[at + right] == p->bytes[offset + right])
        right++;
    if (left + right < p->min_match)
        return;
    size_t last = offset + right - p->min_match;
    if (first_counting(p, offset - left, last) <= last)
        report(l, pattern, at - left, offset - left, left + right);
}

/* The window at @at of the piece is known: of the patterns that have it, each is told once. */
static void report_window(struct look *l, uint32_t leader, size_t at)
{
    const struct gx_scan_lane *lane = l->lane;
    uint64_t *spread = &l->place->spread_bits[leader / 64], bit = (uint64_t)1 << leader % 64;
    if ((*spread & bit) != 0 && l->piece->offset + at + lane->match <= l->place->covered)
        return;
    const struct gx_scan_window *w = &lane->windows[leader];
    report(l, lane->members[w->member], at, w->offset, lane->match);
    if ((*spread & bit) != 0)
        return;
    *spread |= bit;
    for (uint32_t i = w->same; i != 0; i = lane->windows[i - 1].same)
        report(l, lane->members[lane->windows[i - 1].member], at, lane->windows[i - 1].offset, lane->match);
}

/* The window at @at, with that hash, is looked up. In a long run of zeros each is as the one before. */
static void look_window(struct look *l, size_t at, uint64_t hash)
{
    const struct gx_scan_lane *lane = l->lane;
    struct gx_scan_place *place = l->place;
    if (place->has_latest && hash == place->latest_hash && l->piece->offset + at + lane->match <= place->latest_until)
        return;
    bool known = passes(lane->window_sieve, lane->window_bits - 3, mix(hash));
    uint32_t leader = known ? lane->window_slots[find_window(lane, hash, l->piece->bytes + at)] : 0;
    if (leader != 0)
        report_window(l, leader - 1, at);
    else if (known)
        return;
    place->has_latest = true;
    place->latest_hash = hash;
    place->latest_until = leader != 0 ? place->covered : UINT64_MAX;
}

/* Looks up every window that holds the word at @at, but those that were looked up before. */
static void look_windows(struct look *l, size_t at)
{
    const struct gx_scan_lane *lane = l->lane;
    const uint8_t *bytes = l->piece->bytes;
    struct gx_scan_place *place = l->place;
    if (l->piece->len < lane->match)
        return;
    size_t from = at + WORD > lane->match ? at + WORD - lane->match : 0;
    size_t last = GX_MIN(at, l->piece->len - lane->match);
    uint64_t hash;
    if (place->has_window && place->window_next >= l->piece->offset + from) {
        from = (size_t)(place->window_next - l->piece->offset);
        hash = place->window_hash;
        if (from > last)
            return;
    } else {
        hash = window_hash(bytes + from, lane->match);
    }
    for (;; from++) {
        look_window(l, from, hash);
        if (from == last)
            break;
        hash = roll(lane, hash, bytes[from], bytes[from + lane->match]);
    }
    /* The hash of the next one needs the byte after this one. */
    place->has_window = last + lane->match < l->piece->len;
    if (place->has_window) {
        place->window_next = l->piece->offset + last + 1;
        place->window_hash = roll(lane, hash, bytes[last], bytes[last + lane->match]);
    }
}

static void look_word(struct look *l, size_t at)
{
    const struct gx_scan_lane *lane = l->lane;
    uint32_t last = (uint32_t)(((uint64_t)1 << lane->slot_bits) - 1);
    uint64_t word = load(l->piece->bytes + at);
    uint32_t slot = slot_of(mix(word), lane->slot_bits);
    size_t m, offset;
    if (l->place->has_common && l->place->common_word == word) {
        look_windows(l, at);
        return;
    }
    while (find_word(lane, word, &slot, &m, &offset)) {
        if ((lane->slots[slot] & COMMON_BIT) != 0) {
            l->place->has_common = true;
            l->place->common_word = word;
            look_windows(l, at);
            return;
        }
        compare(l, lane->members[m], at, offset);
        slot = (slot + 1) & last;
    }
}

/* Words from @at on as long as AT_ONCE of them end before @until; returns where it left off. Their places in the sieve
 * come from memory while those before them are looked at. */
static size_t look_at_many(struct look *l, size_t at, size_t until)
{
    const struct gx_scan_lane *lane = l->lane;
    const uint8_t *bytes = l->piece->bytes;
    const size_t stride = lane->stride, reach = (AT_ONCE - 1) * stride + WORD;
    uint64_t hashes[2][AT_ONCE];
    bool ahead = false;
    for (unsigned turn = 0; ahead || at + reach <= until; turn ^= 1) {
        bool goes_on = at + reach <= until;
        for (size_t i = 0; goes_on && i < AT_ONCE; i++) {
            uint64_t hash = mix(load(bytes + at + i * stride));
            hashes[turn][i] = hash;
            __builtin_prefetch(&lane->sieve[hash >> (64 - lane->sieve_bits)]);
        }
        for (size_t i = 0; ahead && i < AT_ONCE; i++)
            if (passes(lane->sieve, lane->sieve_bits, hashes[turn ^ 1][i]))
                look_word(l, at - (AT_ONCE - i) * stride);
        ahead = goes_on;
        at += goes_on ? AT_ONCE * stride : 0;
    }
    return at;
}

/* The same of a small sieve: one branch for FEW_AT_ONCE words, as long as none of them passes. */
static size_t look_at_few(struct look *l, size_t at, size_t until)
{
    const struct gx_scan_lane *lane = l->lane;
    const uint8_t *bytes = l->piece->bytes;
    const size_t stride = lane->stride, reach = (FEW_AT_ONCE - 1) * stride + WORD;
    for (; at + reach <= until; at += FEW_AT_ONCE * stride) {
        unsigned passed = 0;
#pragma GCC unroll 8
        for (unsigned i = 0; i < FEW_AT_ONCE; i++)
            passed |= (unsigned)passes_few(lane->sieve, lane->sieve_bits, load(bytes + at + i * stride)) << i;
        for (; passed != 0; passed &= passed - 1)
            look_word(l, at + (size_t)__builtin_ctz(passed) * stride);
    }
    return at;
}

void gx_scan_lane_look(const struct gx_scan_lane *lane, struct gx_scan_place *place, const struct gx_scan_piece *piece,
                       const bool *seen, gx_scan_found *found, void *found_arg)
{
    struct look l = {lane, place, piece, seen, found, found_arg};
    /* A window that begins with the last word that is looked at is there as a whole. */
    const size_t context = piece->last ? WORD : lane->match;
    assert(place->next >= piece->offset);
    size_t at = (size_t)(place->next - piece->offset);
    if (piece->len >= context) {
        size_t until = piece->len - context + WORD;
        at = lane->few ? look_at_few(&l, at, until) : look_at_many(&l, at, until);
        for (; at + WORD <= until; at += lane->stride)
            if (may_be_known(lane, load(piece->bytes + at)))
                look_word(&l, at);
    }
    place->next = piece->offset + at;
}
