/** `s2 backup` and `s2 restore`, by hand and beneath programs that live. */
import assert from 'node:assert/strict'
import { globSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { openStore } from '#store/open-store.ts'
import type { Store } from '#store/store.ts'
import { mainOf, Program } from '../program.ts'
import { singly } from '../singly.ts'
import { run } from './run-command.ts'

/** Nobody asks this bridge by its port, whatever it is. */
const LISTENING = { S2_LISTEN: '127.0.0.1:0' }
const parts = { clock: systemClock, chance: systemChance, log: recordingLog() }

class Host implements AsyncDisposable {
  readonly state = mkdtempSync(join(tmpdir(), 's2-backup-'))
  readonly #programs = new AsyncDisposableStack()

  s2(...argv: readonly string[]) {
    return run(argv, { env: { S2_STATE: this.state } })
  }

  async json(...argv: readonly string[]) {
    const { code, out, err } = await this.s2(...argv, '--json')
    assert.equal(code, 0, err)
    return JSON.parse(out)
  }

  /** The store by the way its programs are asked: the bridge where one runs, else the file. */
  async store(): Promise<Store> {
    const socket = join(this.state, 'run', 'admin.sock')
    const isServed =
      readdirSync(this.state).includes('run') && readdirSync(join(this.state, 'run')).includes('admin.sock')
    return await openStore(isServed ? `unix:${socket}` : `sqlite:${join(this.state, 'bridge.db')}`, parts)
  }

  /** Starts a program; answers when it is ready. */
  async start(name: string, settings: Readonly<Record<string, string>> = {}): Promise<Program> {
    const program = this.#programs.use(new Program(mainOf(name), { S2_STATE: this.state, ...settings }))
    await program.says('ready')
    return program
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#programs.disposeAsync()
    rmSync(this.state, { recursive: true, force: true })
  }
}

async function populate(store: Store): Promise<{ a: SessionId; b: SessionId }> {
  const { id } = await store.openConversation({
    roles: { a: 'orchestrator', b: 'tests' },
    agents: { a: 'orchestrator', b: 's2-worker-1' },
    lifetimeMs: 3_600_000,
  })
  return { a: sessionId(id, 'a'), b: sessionId(id, 'b') }
}

/** The number of a database is that of its last migration. */
const SCHEMA = globSync('services/core/store/sqlite/file/migrations/[0-9]*.sql').length

test('made, listed, verified, gone back to', async () => {
  await using host = new Host()
  assert.match((await host.s2('backup')).err, /^s2: there is no database .*\n {2}next: /)
  assert.match((await host.s2('backup', 'list')).err, /there are no backups of .*bridge\.db in .*backups/)
  const store = await host.store()
  const { a } = await populate(store)
  await store.send(a, 'k', { text: 'one' })
  const { code, out } = await host.s2('backup')
  assert.equal(code, 0)
  assert.match(
    out,
    /backups\/bridge-\S+\.db\n {2}\d+ kB, 1 message, 1 conversation, 0 tasks; schema \d+, audit chain of 2 whole; \d/,
  )
  const made = await host.json('backup')
  assert.equal(made.rows.messages, 1)
  assert.equal(made.schema, SCHEMA)
  const listed = await host.json('backup', 'list')
  assert.equal(listed.length, 2)
  assert.equal(listed[0].path, made.path)
  assert.match((await host.s2('backup', 'list')).out, /^BACKUP.*\nbridge-.*\nbridge-/)
  const name = made.path.split('/').at(-1)
  assert.match((await host.s2('backup', 'verify', name)).out, /1 message, /)
  writeFileSync(listed[1].path, 'rotten')
  const rotten = await host.s2('backup', 'verify', listed[1].path)
  assert.equal(rotten.code, 1)
  assert.match(rotten.err, /is not a SQLite database\n {2}next: take another one/)
  await store.send(a, 'l', { text: 'two' })
  await store[Symbol.asyncDispose]()
  assert.match((await host.s2('backup', '--keep', '1')).out, /removed: bridge-.*, bridge-/)
  await rm(host, 'bridge.db')
  const back = await host.s2('restore', '--latest')
  assert.match(back.out, /is restored from bridge-.*made \d\S* ago/)
  assert.match(back.out, /there was no database here before\n.*next: start what was stopped/)
  assert.equal((await host.json('restore', '--latest')).loss.messages, 0)
})

async function rm(host: Host, name: string): Promise<void> {
  for (const suffix of ['', '-wal', '-shm']) rmSync(join(host.state, name + suffix), { force: true })
}

test('calling them the wrong way is said', async () => {
  await using host = new Host()
  assert.equal((await host.s2('restore')).code, 64)
  assert.equal((await host.s2('restore', 'x', '--latest')).code, 64)
  assert.equal((await host.s2('backup', '--keep', '0')).code, 64)
  assert.match((await host.s2('restore', '--latest')).err, /there are no backups of /)
  assert.match((await host.s2('restore', 'gone.db')).err, /there is no backup .*backups\/gone\.db/)
  assert.match((await host.s2('restore', '/')).err, /: \/ is not a file, and so not a backup\n/)
  const far = await run(['backup'], { env: { S2_STATE: host.state, S2_STORE: 'https://bridge.example.org' } })
  assert.match(far.err, /is not a database of this host\n {2}next: run this on the host that has it/)
  mkdirSync(join(host.state, 'backups'))
  assert.equal((await host.s2('backup', 'list', '--json')).out, '[]\n')
})

test('beneath programs that live: refused; then nobody passes over what comes after', async () => {
  await using host = new Host()
  const bridge = await host.start('bridge', LISTENING)
  const woken = join(host.state, 'woken')
  const watched = { S2_SOURCE: 'database', S2_WAKE: `cat >> ${woken}` }
  const watcher = await host.start('fs-watcher', watched)
  const store = await host.store()
  const { a, b } = await populate(store)
  const { path } = await host.json('backup')
  const send = async (through: Store, ...texts: readonly string[]): Promise<number[]> => {
    const ids: number[] = []
    for (const text of texts) ids.push((await through.send(b, text, { text })).id)
    return ids
  }
  const [, , last = 0] = await send(store, 'one', 'two', 'three')
  await watcher.says('agent woken')
  const refused = await host.s2('restore', path)
  assert.equal(refused.code, 1)
  assert.match(refused.err, /bridge\.db is in use by .*s2-bridge \(pid \d+\)/)
  assert.match(refused.err, /s2-fs-watcher \(pid \d+\)/)
  assert.equal((await store.unacked(a, 0, 10)).length, 3)
  await store[Symbol.asyncDispose]()
  await watcher.end()
  await bridge.end()
  assert.equal((await host.json('restore', path)).loss.messages, 3)
  await host.start('bridge', LISTENING)
  const after = await host.start('fs-watcher', watched)
  await using again = await host.store()
  const [id = 0] = await send(again, 'four')
  assert.ok(id > last)
  await after.says('agent woken')
  const got: string[] = []
  for await (const { text } of singly(again.mail(a, last, new AbortController().signal))) {
    got.push(text)
    break
  }
  assert.deepEqual(got, ['four'], 'a reader whose cursor was ahead')
})
