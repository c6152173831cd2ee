/** The audit chain as bytes: what any single alteration of it leads to. */
import assert from 'node:assert/strict'
import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  AUDIT_ROOT,
  type AuditEntry,
  auditHash,
  CHAIN_START,
  canonicalJson,
  cleanAct,
  DETAILS_DEPTH_MAX,
} from '#fleet/audit.ts'
import { isHeadSigned, readHead, signHead } from '#fleet/audit-head.ts'
import { ChainCheck, type ChainFault, hashedEntryOf } from '#fleet/chain-check.ts'
import { S2Error } from '#fleet/errors.ts'

const anEntry = fc.record({
  version: fc.constantFrom<1 | 2>(1, 2),
  at: fc.nat(),
  actor: fc.string({ minLength: 1 }),
  action: fc.constantFrom('send', 'ack', 'task_added'),
  what: fc.option(fc.string()),
  result: fc.constantFrom('done', 'stale_epoch'),
  latencyMs: fc.option(fc.integer({ min: 0, max: 10_000 }).map((tenths) => tenths / 10)),
  request: fc.option(fc.string()),
  details: fc.dictionary(fc.string(), fc.jsonValue()).map((details) => JSON.parse(JSON.stringify(details))),
})

/** Chains of 3 to 12 entries of either version. */
const aChain = fc.array(anEntry, { minLength: 3, maxLength: 12 }).map((acts) => {
  const entries: AuditEntry[] = []
  for (const act of acts) {
    const bare = { ...act, seq: entries.length + 1, hash: '' }
    entries.push({ ...bare, hash: auditHash(entries.at(-1)?.hash ?? AUDIT_ROOT, hashedEntryOf(bare)) })
  }
  return entries
})

function faultsOf(entries: readonly AuditEntry[]): ChainFault[] {
  const check = new ChainCheck(CHAIN_START)
  return entries.map((entry) => check.take(hashedEntryOf(entry))).filter((fault) => fault !== null)
}

/** A chain, and one of its entries that is not the last. */
const aPlace = aChain.chain((entries) => fc.tuple(fc.constant(entries), fc.nat(entries.length - 2)))

test('an unaltered chain has no fault', () => {
  fc.assert(fc.property(aChain, (entries) => assert.deepEqual(faultsOf(entries), [])))
})

test('an edit of any field is found at its entry', () => {
  const edits: Readonly<Record<string, (entry: AuditEntry) => AuditEntry>> = {
    at: (entry) => ({ ...entry, at: entry.at + 1 }),
    actor: (entry) => ({ ...entry, actor: `${entry.actor}x` }),
    action: (entry) => ({ ...entry, action: `${entry.action}x` }),
    what: (entry) => ({ ...entry, version: 2, what: `${entry.what}x` }),
    result: (entry) => ({ ...entry, version: 2, result: `${entry.result}x` }),
    latencyMs: (entry) => ({ ...entry, version: 2, latencyMs: (entry.latencyMs ?? 0) + 1 }),
    request: (entry) => ({ ...entry, version: 2, request: `${entry.request}x` }),
    details: (entry) => ({ ...entry, details: { ...entry.details, planted: true } }),
    version: (entry) => ({ ...entry, version: entry.version === 1 ? 2 : 1 }),
    hash: (entry) => ({ ...entry, hash: AUDIT_ROOT }),
  }
  for (const [field, edit] of Object.entries(edits)) {
    fc.assert(
      fc.property(aPlace, ([entries, place]) => {
        const faults = faultsOf(entries.map((entry, index) => (index === place ? edit(entry) : entry)))
        assert.equal(faults[0]?.seq, place + 1, field)
        assert.equal(faults[0]?.kind, 'changed')
      }),
    )
  }
})

test('an edit with a new hash of its own is found at the entry after it', () => {
  fc.assert(
    fc.property(aPlace, ([entries, place]) => {
      const edited = entries.map((entry, index) => {
        if (index !== place) return entry
        const other = { ...entry, actor: `${entry.actor}x` }
        return { ...other, hash: auditHash(entries[index - 1]?.hash ?? AUDIT_ROOT, hashedEntryOf(other)) }
      })
      assert.deepEqual(
        faultsOf(edited).map(({ seq, kind }) => [seq, kind]),
        [[place + 2, 'changed']],
      )
    }),
  )
})

test('a deletion, an insertion and a swap are found where they are', () => {
  fc.assert(
    fc.property(aPlace, ([entries, place]) => {
      const cut = faultsOf(entries.toSpliced(place, 1))
      assert.deepEqual([cut[0]?.kind, cut[0]?.seq], ['missing', place + 1])
      const twice = faultsOf(entries.toSpliced(place, 0, entries[place] as AuditEntry))
      assert.deepEqual([twice[0]?.kind, twice[0]?.seq], ['out_of_order', place + 1])
      const planted = { ...(entries[place] as AuditEntry), seq: place + 2 }
      const pushed = entries.slice(place + 1).map((entry) => ({ ...entry, seq: entry.seq + 1 }))
      assert.equal(faultsOf([...entries.slice(0, place + 1), planted, ...pushed])[0]?.seq, place + 2)
      const [one, other] = [entries[place] as AuditEntry, entries[place + 1] as AuditEntry]
      assert.equal(faultsOf(entries.toSpliced(place, 2, other, one))[0]?.seq, place + 1, 'swapped with their numbers')
      const renumbered = entries.toSpliced(place, 2, { ...other, seq: one.seq }, { ...one, seq: other.seq })
      assert.equal(faultsOf(renumbered)[0]?.seq, place + 1, 'swapped under each other’s numbers')
    }),
  )
})

test('entries of version 1 hash as they ever did', () => {
  const bytes = JSON.stringify([AUDIT_ROOT, 1, 5, 'admin', 'task_added', '{"task":"t"}'])
  const entry = {
    version: 1 as const,
    seq: 1,
    at: 5,
    actor: 'admin',
    action: 'task_added',
    detailsJson: '{"task":"t"}',
  }
  const unhashed = { what: null, result: 'done', latencyMs: null, request: null }
  assert.equal(auditHash(AUDIT_ROOT, { ...entry, ...unhashed }), createHash('sha256').update(bytes).digest('hex'))
})

test('details have one form, whatever order they were given in', () => {
  assert.equal(
    canonicalJson({ b: [1, { d: null, c: undefined }], a: 'é', 10: 0.5 }),
    '{"10":0.5,"a":"é","b":[1,{"d":null}]}',
  )
  // JSON has no negative zero: what was meant is what JSON itself says of the value.
  const meant = (value: unknown): unknown => JSON.parse(JSON.stringify(value))
  fc.assert(fc.property(fc.jsonValue(), (value) => assert.deepEqual(JSON.parse(canonicalJson(value)), meant(value))))
})

test('a head counts as long as nothing of it is altered', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const key = publicKey.export({ format: 'jwk' }).x ?? ''
  const signer = (bytes: Uint8Array) => ({ key, signature: sign(null, bytes, privateKey).toString('base64url') })
  const head = signHead({ store: 's', seq: 7, hash: AUDIT_ROOT, at: 5 }, signer)
  assert.ok(isHeadSigned(head))
  assert.deepEqual(readHead(JSON.stringify(head)), head)
  for (const other of [
    { store: 't' },
    { seq: 8 },
    { hash: 'f'.repeat(64) },
    { at: 6 },
    { signature: 'AAAA' },
    { key: 'x' },
  ]) {
    assert.equal(isHeadSigned({ ...head, ...other }), false, JSON.stringify(other))
  }
  for (const line of ['', '{}', 'null', '[]', '{"seq":1}']) assert.equal(readHead(line), null, line)
})

test('an act to record is checked, and holds no secret', () => {
  const secret = ['f'.repeat(32), '0'.repeat(32)].join('')
  const act = cleanAct({
    actor: 'admin',
    action: 'command_refused',
    details: { why: `token: ${secret}`, of: [secret] },
  })
  assert.equal(JSON.stringify(act).includes(secret), false)
  assert.deepEqual([act.what, act.result], [null, 'done'])
  const other = cleanAct({
    actor: 'admin',
    action: 'x',
    what: secret,
    result: `said ${secret}`,
    details: { [secret]: 1 },
  })
  assert.equal(
    JSON.stringify(other).includes(secret),
    false,
    'nor in what it was, how it ended, or a name of its details',
  )
  for (const wrong of [
    { actor: '', action: 'x', details: {} },
    { actor: 'a', action: 'Not a word', details: {} },
    { actor: 'a', action: 'x', details: { long: 'y'.repeat(20_000) } },
  ]) {
    assert.throws(() => cleanAct(wrong), S2Error)
  }
})

test('details may be nested, and deeper than anybody means is refused, however deep', () => {
  const nested = (depth: number) => ({ a: JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`) })
  const act = (depth: number) => ({ actor: 'admin', action: 'x', details: nested(depth) })
  assert.deepEqual(cleanAct(act(DETAILS_DEPTH_MAX - 1)).details, nested(DETAILS_DEPTH_MAX - 1))
  for (const depth of [DETAILS_DEPTH_MAX, 20_000, 200_000])
    assert.throws(() => cleanAct(act(depth)), { code: 'invalid', message: /nested/ })
})
