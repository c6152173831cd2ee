/** `s2 audit`, on the files of a host and beside its bridge. */
import assert from 'node:assert/strict'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import Database from 'better-sqlite3'
import { signHead } from '#fleet/audit-head.ts'
import { signBytes } from '#fleet/identity.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import { ensureIdentity, identityFile, makeIdentity } from '#identity/identity-file.ts'
import { systemChance } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { openStore } from '#store/open-store.ts'
import type { Store } from '#store/store.ts'
import { MovableClock } from '../movable-clock.ts'
import { mainOf, Program } from '../program.ts'
import { until } from '../until.ts'
import { run } from './run-command.ts'

class Host implements AsyncDisposable {
  readonly state = mkdtempSync(join(tmpdir(), 's2-audit-'))
  readonly clock = new MovableClock()
  readonly #stack = new AsyncDisposableStack()

  get database(): string {
    return join(this.state, 'bridge.db')
  }

  s2(...argv: readonly string[]) {
    return run(argv, { env: { S2_STATE: this.state } })
  }

  async store(url = `sqlite:${this.database}`): Promise<Store> {
    const parts = { clock: this.clock, chance: systemChance, log: recordingLog() }
    return this.#stack.use(await openStore(url, parts))
  }

  /** The bridge, and the issuer beside it, which signs heads. */
  async bridge(): Promise<{ end(): Promise<unknown> }> {
    const bridge = this.#stack.use(new Program(mainOf('bridge'), { S2_STATE: this.state, S2_LISTEN: '127.0.0.1:0' }))
    await bridge.says('ready')
    const issuer = this.#stack.use(new Program(mainOf('cred-sync'), { S2_STATE: this.state, S2_ISSUER: 'yes' }))
    await issuer.says('ready')
    return { end: () => Promise.all([issuer.end(), bridge.end()]) }
  }

  alter(sql: string, path = this.database): void {
    const database = new Database(path)
    database.exec(sql)
    database.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
    rmSync(this.state, { recursive: true, force: true })
  }
}

async function openChannel(store: Store): Promise<SessionId> {
  const { id } = await store.openConversation({
    roles: { a: 'orchestrator', b: 'tests' },
    agents: { a: 'orchestrator', b: 's2-worker-1' },
    lifetimeMs: 90 * 86_400_000,
  })
  return sessionId(id, 'a')
}

test('tail, search and export tell of what was done', async () => {
  await using host = new Host()
  const store = await host.store()
  const a = await openChannel(store)
  for (let n = 0; n < 5; n += 1) await store.send(a, `k${n}`, { text: 'x' })
  const tail = await host.s2('audit', 'tail', '-n', '2')
  assert.equal(tail.code, 0, tail.err)
  assert.match(tail.out, /^5 \S+Z conv_\S+\/a send message\/4 done [\d.]+ ms \{.*\}\n6 .*\n$/)
  const found = await host.s2('audit', 'search', '--what', 'message/3', '--since', '1h', '--json')
  assert.deepEqual([found.out.trim().split('\n').length, JSON.parse(found.out).seq], [1, 4])
  assert.match((await host.s2('audit', 'search', 'no such thing')).err, /no act of the trail is like that/)
  const conversation = a.slice(0, -2)
  const byWho = await host.s2('audit', 'search', '--who', conversation)
  assert.equal(byWho.out.trim().split('\n').length, 5)
  assert.equal((await host.s2('audit', 'search', '--until', '2020-01-01T00:00:00Z')).out, '')
  assert.equal((await host.s2('audit', 'search', '--since', 'yesterday')).code, 64)
  const { out } = await host.s2('audit', 'export', '--jsonl')
  const lines = out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const { store: id } = await store.auditHead()
  assert.deepEqual(
    lines.map(({ id }) => id),
    [1, 2, 3, 4, 5, 6].map((seq) => `if://s2/audit/${id}/${seq}`),
  )
})

test('verify: a database, a backup, an export, a segment, each whole and altered', async () => {
  await using host = new Host()
  const store = await host.store()
  const a = await openChannel(store)
  for (let n = 0; n < 5; n += 1) await store.send(a, `k${n}`, { text: 'x' })
  host.clock.pass(40 * 86_400_000)
  await store.prune(30 * 86_400_000)
  await store.send(a, 'later', { text: 'x' })
  const { out: exported } = await host.s2('audit', 'export')
  const file = join(host.state, 'trail.jsonl')
  writeFileSync(file, exported)
  const [segment] = JSON.parse(
    (await host.s2('audit', 'search', '--action', 'segment_sealed', '--json')).out.split('\n')[0] ?? '',
  ).details.file.match(/audit-\S+/) ?? ['']
  await store[Symbol.asyncDispose]()
  const sealed = join(host.state, 'segments', segment)
  const whole = await host.s2('audit', 'verify')
  assert.equal(whole.code, 0, whole.out)
  assert.match(whole.out, /bridge\.db\n {2}8 entries, 1 to 8: whole\n {2}1 segment; 0 foreign rows sealed, 0 not yet\n/)
  const backup = (await host.s2('backup', '--json')).out
  for (const path of [file, sealed, JSON.parse(backup).path]) {
    const { code, out } = await host.s2('audit', 'verify', path)
    assert.equal(code, 0, out)
  }
  const lines = exported.split('\n')
  const alterations: readonly (readonly [string, RegExp])[] = [
    [exported.replace('"seq":3,', '"seq":3,"x":1,').replace('message/2', 'message/9'), /changed: entry 3 /],
    [lines.toSpliced(2, 1).join('\n'), /missing: entry 3 /],
    [lines.toSpliced(2, 2, lines[3] ?? '', lines[2] ?? '').join('\n'), /missing: entry 3 .*\n.*out_of_order: entry 3 /],
    [lines.toSpliced(2, 0, lines[2] ?? '').join('\n'), /out_of_order: entry 3 /],
    [lines.toSpliced(2, 1, 'not JSON').join('\n'), /unreadable: the line where entry 3 is due/],
  ]
  for (const [text, found] of alterations) {
    writeFileSync(file, text)
    const { code, out } = await host.s2('audit', 'verify', file)
    assert.equal(code, 1)
    assert.match(out, found)
  }
  writeFileSync(file, lines.slice(3).join('\n'))
  assert.equal((await host.s2('audit', 'verify', file)).code, 0, 'a part proves itself too')
  host.alter("UPDATE s2_audit SET actor = 'x' WHERE seq = 8")
  const altered = await host.s2('audit', 'verify', '--json')
  assert.equal(altered.code, 1)
  const report = JSON.parse(altered.out)
  assert.deepEqual([report.whole, report.faults[0].kind, report.faults[0].seq], [false, 'changed', 8])
  assert.match((await host.s2('audit', 'verify', join(host.state, 'nothing'))).err, /cannot be read\n {2}next: /)
})

test('beside the bridge: followed, signed, and a database of before is found out by its heads', async () => {
  await using host = new Host()
  const bridge = await host.bridge()
  const store = await host.store(`unix:${join(host.state, 'run', 'admin.sock')}`)
  const a = await openChannel(store)
  assert.match((await host.s2('audit', 'tail')).out, /conversation_opened/)
  await using following = new Program(mainOf('cli'), { S2_STATE: host.state }, ['audit', 'tail', '--follow', '--json'])
  await store.send(a, 'k', { text: 'x' })
  await following.until(() => following.said.includes('"action":"send"'))
  assert.equal((await following.end()).code, 0)
  await bridge.end()
  copyFileSync(host.database, `${host.database}.old`)
  const again = await host.bridge()
  await until('a head', () => headsIn(host).some(({ seq }) => seq >= 2))
  const served = await host.store(`unix:${join(host.state, 'run', 'admin.sock')}`)
  await served.send(a, 'l', { text: 'x' })
  await again.end()
  const last = await host.bridge()
  await until('a head', () => headsIn(host).some(({ seq }) => seq >= 3))
  const whole = await host.s2('audit', 'verify')
  assert.equal(whole.code, 0, whole.out)
  await last.end()
  copyFileSync(`${host.database}.old`, host.database)
  const rolledBack = await host.s2('audit', 'verify')
  assert.equal(rolledBack.code, 1)
  assert.match(rolledBack.out, /rolled_back: the chain ends at entry 2, and a kept head of \S+ names entry 3/)
  const kept = join(host.state, 'kept.json')
  writeFileSync(kept, `${JSON.stringify(headsIn(host).at(-1))}\n`)
  assert.equal((await host.s2('audit', 'verify', `${host.database}.old`, '--head', kept)).code, 1)
  const otherKey = await host.s2('audit', 'verify', '--key', 'A'.repeat(43))
  assert.match(otherKey.out, /head: the kept head of entry \d+ is signed by another key/)
})

test('verify: what is no trail and what is no key is told as such, and not as altered', async () => {
  await using host = new Host()
  const store = await host.store()
  await openChannel(store)
  const { seq, hash, store: id } = await store.auditHead()
  await store[Symbol.asyncDispose]()
  const file = join(host.state, 'other.json')
  const head = { store: id, seq, hash, at: 1, key: 'A'.repeat(43), signature: 'A'.repeat(86) }
  for (const text of ['', '\n\n', '{"a": 1}\n', JSON.stringify({ a: [1] }, null, 2), `${JSON.stringify(head)}\n`]) {
    writeFileSync(file, text)
    const { code, out, err } = await host.s2('audit', 'verify', file)
    assert.deepEqual([code, out], [1, ''], text)
    assert.match(err, /other\.json is no audit trail: none of its lines is an entry\n {2}next: /)
  }
  const { code, out, err } = await host.s2('audit', 'verify', '--key', 'zzz')
  assert.deepEqual([code, out], [1, ''])
  assert.match(err, /--key zzz is no key.*\n {2}next: /)
})

test('verify: an option takes one value, and a trail that was cut is told where it ends', async () => {
  await using host = new Host()
  const store = await host.store()
  const a = await openChannel(store)
  for (let n = 0; n < 5; n += 1) await store.send(a, `k${n}`, { text: 'x' })
  const identity = await makeIdentity()
  const sign = (bytes: Uint8Array) => ({ key: identity.key, signature: signBytes(identity, bytes) })
  const head = signHead(await store.auditHead(), sign)
  await store[Symbol.asyncDispose]()
  const [kept, others, file] = ['kept.json', 'others.json', 'trail.jsonl'].map((name) => join(host.state, name))
  assert.ok(kept !== undefined && others !== undefined && file !== undefined)
  writeFileSync(kept, `${JSON.stringify(head)}\n`)
  writeFileSync(others, '')
  const { out: exported } = await host.s2('audit', 'export')
  writeFileSync(file, exported)
  const named = ['--head', kept, '--head', others, '--key', identity.key, '--key', 'A'.repeat(43)]
  const whole = await host.s2('audit', 'verify', ...named, file)
  assert.equal(whole.code, 0, whole.out + whole.err)
  assert.match(
    whole.out,
    /trail\.jsonl\n {2}6 entries, 1 to 6: whole\n.*\n {2}1 kept head match.*; it ends at entry 6 of \S+Z, /,
  )
  assert.doesNotMatch(whole.out, /only a kept head/)
  writeFileSync(file, exported.split('\n').slice(0, 4).join('\n'))
  const cut = await host.s2('audit', 'verify', file)
  assert.equal(cut.code, 0)
  assert.match(cut.out, /it ends at entry 4 of \d{4}-\S+Z, \w+: only a kept head shows whether more was cut off/)
  assert.match((await host.s2('audit', 'verify', '--head', kept, file)).out, /rolled_back: the chain ends at entry 4/)
  writeFileSync(file, exported.split('\n').slice(3).join('\n'))
  writeFileSync(kept, `${JSON.stringify(signHead({ ...head, seq: 2 }, sign))}\n`)
  const unproven = await host.s2('audit', 'verify', '--head', kept, file)
  assert.equal(unproven.code, 1)
  assert.match(unproven.out, /3 entries, 4 to 6: unproven: 1 kept head, and none of them stands in it/)
})

test('a restore is signed by the orchestrator, and says so where its keys are not at hand', async () => {
  await using host = new Host()
  const store = await host.store()
  const a = await openChannel(store)
  await store[Symbol.asyncDispose]()
  const identity = await ensureIdentity(host.state)
  const backup = JSON.parse((await host.s2('backup', '--json')).out).path
  const again = await host.store()
  await again.send(a, 'k', { text: 'x' })
  await again.send(a, 'l', { text: 'x' })
  const sign = (bytes: Uint8Array) => ({ key: identity.key, signature: signBytes(identity, bytes) })
  const lost = signHead(await again.auditHead(), sign)
  await again[Symbol.asyncDispose]()
  writeFileSync(join(host.state, 'audit-heads.jsonl'), `${JSON.stringify(lost)}\n`)
  const given = readFileSync(host.database)
  const signed = await host.s2('restore', backup)
  assert.deepEqual([signed.code, signed.err], [0, ''])
  const { code, out } = await host.s2('audit', 'verify', '--json')
  const report = JSON.parse(out)
  assert.deepEqual([code, report.whole, report.verdict, report.faults], [1, false, 'unproven', []])
  assert.match(report.notes[0], /^1 kept heads are of the chain that was given up by the restore in entry 2/)
  for (const [file, why] of [
    [JSON.stringify({ ...identity, key: 'short' }), /identity\.json does not hold the keys of a host/],
    [null, /the orchestrator's keys are not in \S+identity\.json/],
  ] as const) {
    writeFileSync(host.database, given)
    rmSync(identityFile(host.state))
    if (file !== null) writeFileSync(identityFile(host.state), file, { mode: 0o600 })
    const unsigned = await host.s2('restore', backup)
    assert.equal(unsigned.code, 0)
    assert.match(unsigned.err, /^s2: the restore is not signed: /)
    assert.match(unsigned.err, why)
    rmSync(identityFile(host.state), { force: true })
    const later = await host.s2('audit', 'verify')
    assert.equal(later.code, 1)
    assert.match(later.out, /: altered: 1 fault\n[\s\S]*note: the restore in entry 2 is not signed/)
    writeFileSync(identityFile(host.state), '')
  }
})

function headsIn(host: Host): { readonly seq: number }[] {
  try {
    const text = readFileSync(join(host.state, 'audit-heads.jsonl'), 'utf8')
    return text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
  } catch {
    return []
  }
}
