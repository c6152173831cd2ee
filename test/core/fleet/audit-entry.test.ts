/** One entry, one link, one head, one restore of the audit trail: exact bytes, and what is refused. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import {
  AUDIT_ROOT,
  type AuditEntry,
  type AuditedAct,
  auditHash,
  canonicalJson,
  cleanAct,
  DETAILS_DEPTH_MAX,
  detailsJsonOf,
  isNestedTooDeep,
  subjectOf,
} from '#fleet/audit.ts'
import { isHeadSigned, readHead, signHead } from '#fleet/audit-head.ts'
import { type RestoreClaim, restoreSigner, signerOfRestore } from '#fleet/audit-restore.ts'
import { ChainCheck, hashedEntryOf } from '#fleet/chain-check.ts'
import { signBytes } from '#fleet/identity.ts'
import { makeIdentity } from '#identity/identity-file.ts'

const orchestrator = await makeIdentity()
const { key } = orchestrator

function sha256(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex')
}

test('details have one form in bytes', () => {
  for (const [value, json] of [
    [undefined, 'null'],
    [null, 'null'],
    [true, 'true'],
    ['é"', '"é\\""'],
    [[1, undefined, [null, { b: 1, a: [] }]], '[1,null,[null,{"a":[],"b":1}]]'],
    [{ c: 1, a: { z: 0, y: null }, b: undefined, B: 2 }, '{"B":2,"a":{"y":null,"z":0},"c":1}'],
    [{ a: 1, b: 2, c: 3 }, '{"a":1,"b":2,"c":3}'],
    [{ c: 3, b: 2, a: 1 }, '{"a":1,"b":2,"c":3}'],
  ] as const) {
    assert.equal(canonicalJson(value), json)
  }
})

test('the hash of an entry is that of its fields in their order, of either version', () => {
  const fields = { seq: 3, at: 5, actor: 'admin', action: 'send', what: 'message/1', result: 'done' }
  const entry = { ...fields, latencyMs: 0.3, request: 'r', detailsJson: '{"b":1}' }
  const first = [AUDIT_ROOT, 3, 5, 'admin', 'send', '{"b":1}']
  assert.equal(auditHash(AUDIT_ROOT, { ...entry, version: 1 }), sha256(first))
  const second = ['s2-audit-2', AUDIT_ROOT, 3, 5, 'admin', 'send', 'message/1', 'done', 0.3, 'r', '{"b":1}']
  assert.equal(auditHash(AUDIT_ROOT, { ...entry, version: 2 }), sha256(second))
})

test('an entry of version 1 covers its details as they stood, a later one their one form', () => {
  const details = { b: 1, a: 2 }
  assert.equal(detailsJsonOf({ version: 1, details }), '{"b":1,"a":2}')
  assert.equal(detailsJsonOf({ version: 2, details }), '{"a":2,"b":1}')
})

test('what an act was done to is what it says, else the most telling of its details', () => {
  const of = (details: AuditedAct['details'], more: Partial<AuditedAct> = {}): string | null =>
    subjectOf({ actor: 'a', action: 'b', details, ...more })
  const all = { conversation: 'c', session: 's', incident: 5, message: 12, task: 't' }
  assert.equal(of(all), 'task/t')
  const { task: _, ...others } = all
  assert.equal(of(others), 'message/12')
  assert.equal(of({ incident: 5, session: 's', conversation: 'c' }), 'incident/5')
  assert.equal(of({ session: 's', conversation: 'c' }), 'session/s')
  assert.equal(of({ conversation: 'c' }), 'conversation/c')
  assert.equal(of({ task: null, message: [1], other: 'x' }), null)
  assert.equal(of(all, { what: 'backup/b' }), 'backup/b')
  assert.equal(of(all, { what: null }), null)
})

test('an act to record has names that are neither missing nor too long, and details that are not too many', () => {
  const act = (more: Partial<AuditedAct>): AuditedAct => ({ actor: 'admin', action: 'act', details: {}, ...more })
  const [longest, longer] = ['y '.repeat(100), `${'y '.repeat(100)}y`]
  const [most, more] = [16_376, 16_377].map((count) => ({ a: 'y '.repeat(8_200).slice(0, count) }))
  assert.ok(most && more && canonicalJson(most).length === 16_384)
  for (const good of [
    { actor: longest },
    { what: longest },
    { result: longest },
    { action: `a${'_9'.repeat(31)}z` },
    { details: most },
  ])
    assert.deepEqual(cleanAct(act(good)), { what: null, result: 'done', ...act(good) })
  for (const wrong of [
    { actor: '' },
    { actor: longer },
    { what: longer },
    { result: longer },
    { action: '' },
    { action: 'Act' },
    { action: `a${'b'.repeat(64)}` },
    { details: more },
  ])
    assert.throws(() => cleanAct(act(wrong)), { code: 'invalid' }, JSON.stringify(wrong))
})

test('details are redacted at every depth, in their names too, and keep their form', () => {
  const secret = ['f'.repeat(32), '0'.repeat(32)].join('')
  const said = { n: 1, none: null, yes: true, list: ['plain', 2, [`token: ${secret}`]], [secret]: { deep: secret } }
  const { details } = cleanAct({ actor: 'admin', action: 'act', details: said })
  assert.ok(!JSON.stringify(details).includes(secret))
  const { n, none, yes, list } = details
  assert.deepEqual([n, none, yes], [1, null, true])
  assert.ok(Array.isArray(list) && list.length === 3 && Array.isArray(list[2]))
  assert.deepEqual(list.slice(0, 2), ['plain', 2])
  const [, inner] = Object.entries(details).find(([name]) => /redacted/.test(name)) ?? []
  assert.ok(typeof inner === 'object' && inner !== null && /redacted/.test(String((inner as { deep: unknown }).deep)))
  for (const field of [{ actor: secret }, { what: secret }, { result: secret }])
    assert.ok(!JSON.stringify(cleanAct({ actor: 'a', action: 'b', details: {}, ...field })).includes(secret))
})

test('details are nested too deep where any branch of them is', () => {
  const nested = (depth: number): unknown => (depth === 0 ? 'x' : { a: nested(depth - 1), b: 1 })
  const details = (depth: number) => nested(depth) as AuditEntry['details']
  assert.equal(isNestedTooDeep({}), false)
  assert.equal(isNestedTooDeep({ a: null, b: [null, 1] }), false)
  assert.equal(isNestedTooDeep(details(DETAILS_DEPTH_MAX)), false)
  assert.equal(isNestedTooDeep(details(DETAILS_DEPTH_MAX + 1)), true)
  assert.equal(isNestedTooDeep({ first: details(DETAILS_DEPTH_MAX), last: [] }), true)
  const act = { actor: 'a', action: 'b', details: details(DETAILS_DEPTH_MAX + 1) }
  assert.throws(() => cleanAct(act), { code: 'invalid', message: /nested deeper/ })
})

/** Entries of one chain, as many as are asked for. */
function chain(length: number): AuditEntry[] {
  const entries: AuditEntry[] = []
  for (let seq = 1; seq <= length; seq += 1) {
    const names = { version: 2 as const, actor: 'a', action: 'b', what: null, result: 'done', request: null }
    const bare = { ...names, seq, at: seq, latencyMs: null, details: {}, hash: '' }
    entries.push({ ...bare, hash: auditHash(entries.at(-1)?.hash ?? AUDIT_ROOT, hashedEntryOf(bare)) })
  }
  return entries
}

function faultsOf(entries: readonly AuditEntry[], check = new ChainCheck({ seq: 0, hash: AUDIT_ROOT })): unknown[] {
  return entries
    .map((entry) => check.take(hashedEntryOf(entry)))
    .flatMap((fault) => (fault === null ? [] : `${fault.kind} ${fault.seq}: ${fault.text}`))
}

test('a link of a chain is in its place, follows the one before it, and is told of where it does not', () => {
  const [one, two, three, four, five] = chain(5)
  assert.ok(one && two && three && four && five)
  assert.deepEqual(faultsOf([one, two, three, four, five]), [])
  const check = new ChainCheck({ seq: 2, hash: two.hash })
  assert.deepEqual([faultsOf([three, four], check), check.head], [[], { seq: 4, hash: four.hash }])
  assert.deepEqual(faultsOf([one, three, four]), ['missing 2: entry 2 is missing'])
  assert.deepEqual(faultsOf([one, four, five]), ['missing 2: entries 2 to 3 are missing'])
  assert.deepEqual(faultsOf([one, five]), ['missing 2: entries 2 to 4 are missing'])
  assert.deepEqual(faultsOf([one, two, two, three]), ['out_of_order 2: entry 2 stands after entry 2'])
  assert.deepEqual(faultsOf([one, two, one, three]), ['out_of_order 1: entry 1 stands after entry 2'])
  const changed = { ...two, actor: 'x' }
  assert.deepEqual(faultsOf([one, changed, three]), ['changed 2: entry 2 was changed, or the one before it'])
  assert.deepEqual(faultsOf([one, { ...two, hash: AUDIT_ROOT }, three]), [
    'changed 2: entry 2 was changed, or the one before it',
    'changed 3: entry 3 was changed, or the one before it',
  ])
})

test('a line is a head where all fields of one stand in it', () => {
  const sign = (bytes: Uint8Array) => ({ key, signature: signBytes(orchestrator, bytes) })
  const head = signHead({ store: 's', seq: 7, hash: AUDIT_ROOT, at: 5 }, sign)
  assert.ok(isHeadSigned(head))
  assert.equal(isHeadSigned({ ...head, key: 'no key' }), false)
  assert.deepEqual(readHead(JSON.stringify(head)), head)
  assert.equal(readHead('no JSON'), null)
  for (const field of Object.keys(head)) {
    for (const value of [undefined, null, true])
      assert.equal(readHead(JSON.stringify({ ...head, [field]: value })), null, field)
  }
})

test('a restore counts as signed by the key that signed just this one', () => {
  const replaced = { seq: 9, hash: 'f'.repeat(64) }
  const claim: RestoreClaim = { store: 's', seq: 4, at: 5, previous: AUDIT_ROOT, replaced }
  const sign = restoreSigner(orchestrator)
  const signed = sign(claim)
  assert.equal(signerOfRestore(claim, signed), key)
  for (const other of [
    { store: 't' },
    { seq: 5 },
    { at: 6 },
    { previous: 'f'.repeat(64) },
    { replaced: null },
    { replaced: { ...replaced, seq: 8 } },
    { replaced: { ...replaced, hash: AUDIT_ROOT } },
  ])
    assert.equal(signerOfRestore({ ...claim, ...other }, signed), null, JSON.stringify(other))
  const unread = { ...claim, replaced: null }
  assert.equal(signerOfRestore(unread, sign(unread)), key)
  for (const none of [undefined, null, 'text', {}, { key }, { signature: signed.signature }, { ...signed, key: 5 }])
    assert.equal(signerOfRestore(claim, none), null, JSON.stringify(none))
})
