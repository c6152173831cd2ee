/** A backup in the place of the database: when it is refused, what is kept, and that nobody is misled afterwards. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ChainHead } from '#fleet/audit.ts'
import { type RestoreSigner, restoreSigner, signerOfRestore } from '#fleet/audit-restore.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { Task } from '#fleet/task.ts'
import { makeIdentity } from '#identity/identity-file.ts'
import { makeBackup } from '#store/sqlite/backup/backup.ts'
import type { CopyParts } from '#store/sqlite/backup/copy-database.ts'
import { openExclusively } from '#store/sqlite/backup/exclusive-open.ts'
import { checkFile } from '#store/sqlite/backup/integrity-check.ts'
import { restoreDatabase } from '#store/sqlite/backup/restore.ts'
import { roomIn } from '#store/sqlite/file/disk-room.ts'
import { mainOf } from '../../program.ts'
import { singly } from '../../singly.ts'
import { type Channel, Ground, noPython, openChannel, refused } from './sqlite-ground.ts'

const HOUR = 3_600_000

const partsOf = (ground: Ground): CopyParts => ({ ...ground.parts, roomIn })

async function backUp(ground: Ground): Promise<string> {
  const folder = join(ground.folder, 'backups')
  const wish = { database: ground.path, folder, beats: 'not', keep: 14, keepForMs: HOUR } as const
  return (await makeBackup(wish, partsOf(ground))).path
}

const restore = (ground: Ground, backup: string, sign: RestoreSigner | null = null) =>
  restoreDatabase({ backup, database: ground.path }, { ...partsOf(ground), sign })

/** Opens the store for as long as something is done with it. */
async function using<T>(ground: Ground, act: (store: Awaited<ReturnType<Ground['open']>>) => Promise<T>): Promise<T> {
  const store = await ground.open()
  try {
    return await act(store)
  } finally {
    await store[Symbol.asyncDispose]()
  }
}

/** A channel, and messages from `a` to `b` with these texts. */
async function populate(ground: Ground, ...texts: readonly string[]): Promise<Channel> {
  return await using(ground, async (store) => {
    const channel = await openChannel(store)
    for (const text of texts) await store.send(channel.a, text, { text })
    return channel
  })
}

const send = (ground: Ground, from: SessionId, ...texts: readonly string[]) =>
  using(ground, async (store) => {
    const ids: number[] = []
    for (const text of texts) ids.push((await store.send(from, text, { text })).id)
    return ids
  })

const textsTo = (ground: Ground, reader: SessionId, after = 0) =>
  using(ground, async (store) => (await store.unacked(reader, after, 100)).map(({ text }) => text))

const beside = (ground: Ground): string[] => readdirSync(ground.folder).sort()

test('goes back, keeps the one before, says what is gone, and puts it on record', async () => {
  await using ground = await Ground.make()
  const { a, b } = await populate(ground, 'one', 'two')
  const backup = await backUp(ground)
  await send(ground, a, 'three', 'four')
  await populate(ground, 'elsewhere')
  chmodSync(ground.path, 0o660)
  const { kept, loss, proof } = await restore(ground, backup)
  assert.deepEqual(await textsTo(ground, b), ['one', 'two'])
  assert.deepEqual({ ...loss, since: 0 }, { messages: 3, since: 0, conversations: 1, tasks: 0, reopened: 0 })
  assert.ok(Math.abs((loss?.since ?? 0) - Date.now()) < 60_000)
  assert.equal(proof.rows.messages, 2)
  assert.equal(statSync(ground.path).mode & 0o777, 0o660, 'whoever shared it shares it still')
  assert.match(kept ?? '', /bridge\.db\.replaced-\d{8}T/)
  assert.equal(checkFile(kept ?? '').rows.messages, 5)
  assert.deepEqual(
    beside(ground).filter((name) => /restoring|-wal|-shm|-journal/.test(name)),
    [],
  )
  const chain = await using(ground, (store) => store.audit(0, 100))
  const { action, details } = chain.at(-1) ?? {}
  assert.equal(action, 'database_restored')
  assert.equal(details?.messages, 3)
  assert.deepEqual(details?.replaced, checkFile(kept ?? '').head)
  assert.equal(proof.head?.hash, chain.at(-1)?.hash)
})

test('it is signed over the chain that goes on and the one that is given up, where there is a key', async () => {
  const identity = await makeIdentity()
  for (const how of ['kept', 'gone'] as const) {
    await using ground = await Ground.make()
    const { a } = await populate(ground, 'one')
    const backup = await backUp(ground)
    await send(ground, a, 'two')
    if (how === 'gone') rmSync(ground.path)
    await restore(ground, backup, restoreSigner(identity))
    const [chain, { store }] = await using(ground, async (each) => [await each.audit(0, 100), await each.auditHead()])
    const entry = chain.at(-1)
    const replaced = (entry?.details.replaced ?? null) as ChainHead | null
    assert.equal(replaced === null, how === 'gone')
    const claim = { store, seq: 3, at: entry?.at ?? 0, previous: chain.at(-2)?.hash ?? '', replaced }
    assert.equal(signerOfRestore(claim, entry?.details.signed), identity.key)
    for (const other of [
      { store: 'x' },
      { seq: 4 },
      { at: 1 },
      { previous: claim.store },
      { replaced: { seq: 9, hash: '' } },
    ])
      assert.equal(signerOfRestore({ ...claim, ...other }, entry?.details.signed), null)
  }
})

test('a reader that had come further misses nothing that comes after', async () => {
  await using ground = await Ground.make()
  const { a, b } = await populate(ground, 'one')
  const backup = await backUp(ground)
  const [, , last = 0] = await send(ground, a, 'two', 'three', 'four')
  await restore(ground, backup)
  const [fresh = 0] = await send(ground, a, 'five')
  assert.ok(fresh > last, `id ${fresh} was given before`)
  assert.deepEqual(await textsTo(ground, b, last), ['five'], 'its cursor passes over new mail')
  const store = await ground.open()
  for await (const message of singly(store.mail(b, last, new AbortController().signal))) {
    assert.equal(message.text, 'five')
    break
  }
})

test('refused beside anybody who has it open; he is named, and nothing is changed', async () => {
  await using ground = await Ground.make()
  const { a } = await populate(ground, 'one')
  const backup = await backUp(ground)
  const sender = await ground.startScript(new URL('sqlite-sender.ts', import.meta.url), ground.path, a, 'k', '1')
  await sender.hear()
  const idle = await ground.startScript(new URL('sqlite-locker.ts', import.meta.url), ground.path)
  await idle.hear()
  await sender.kill()
  idle.say({ lock: true })
  await idle.hear()
  const files = beside(ground)
  const inUse = await refused('unavailable', restore(ground, backup))
  assert.match(
    inUse.message,
    new RegExp(`bridge\\.db is in use by \\S+ \\S+ \\(pid ${idle.process.pid}\\); nothing was changed`),
  )
  idle.say({ lock: false })
  await idle.hear()
  await refused('unavailable', restore(ground, backup)) // it only has it open now
  assert.deepEqual(beside(ground), files)
  await idle.kill()
  assert.deepEqual((await restore(ground, backup)).loss?.messages, 1)
})

test('beside the Python bridge that is asked in between', { skip: noPython }, async () => {
  await using ground = await Ground.make()
  const { opened, b } = await populate(ground, 'one')
  const python = await ground.startPython()
  const as = { conversation_id: opened.id, session_id: 'a', token: opened.tokens.a }
  await python.call('send_to_partner', { ...as, message: 'two' })
  const backup = await backUp(ground)
  await python.call('send_to_partner', { ...as, message: 'three' })
  await restore(ground, backup)
  await python.call('send_to_partner', { ...as, message: 'four' })
  assert.deepEqual(await textsTo(ground, b), ['one', 'two', 'four'])
})

test('a log that somebody left behind who was killed is no part of what is restored', async () => {
  await using ground = await Ground.make()
  const { a, b } = await populate(ground, 'one')
  const backup = await backUp(ground)
  const script = new URL('sqlite-sender.ts', import.meta.url)
  const sender = await ground.startScript(script, ground.path, a, 'k', '1000000', '8')
  for (let n = 0; n < 50; n += 1) await sender.hear()
  await sender.kill('SIGKILL')
  assert.ok(statSync(`${ground.path}-wal`).size > 0, 'there is no log to be misled by')
  const { kept, loss } = await restore(ground, backup)
  assert.ok((loss?.messages ?? 0) >= 50)
  assert.equal(checkFile(kept ?? '').rows.messages, 1 + (loss?.messages ?? 0), 'what was in the log is kept too')
  assert.deepEqual(await textsTo(ground, b), ['one'])
})

test('whoever opened the former one before and writes after cannot write into its successor', async () => {
  await using ground = await Ground.make()
  const { b } = await populate(ground, 'one')
  const late = await ground.startScript(new URL('sqlite-late.ts', import.meta.url), ground.path)
  await late.hear()
  const fresh = join(ground.folder, 'fresh.db')
  await using(ground, async () => undefined)
  ground.look((database) => database.exec(`VACUUM INTO '${fresh}'`))
  {
    using former = openExclusively(ground.path)
    former?.keepAs(join(ground.folder, 'kept.db'))
    renameSync(fresh, ground.path)
  }
  late.say({ write: true })
  assert.deepEqual(await late.hear(), { code: 'SQLITE_READONLY_DBMOVED' })
  assert.deepEqual(await textsTo(ground, b), ['one'])
})

test('a former one that is damaged, or gone, is no reason not to go back', async () => {
  for (const how of ['header', 'middle', 'gone', 'log only'] as const) {
    await using ground = await Ground.make()
    const { a, b } = await populate(ground, 'one')
    const backup = await backUp(ground)
    await send(ground, a, 'two')
    const bytes = readFileSync(ground.path)
    if (how === 'header') writeFileSync(ground.path, bytes.fill(0x55, 0, 100))
    if (how === 'middle') writeFileSync(ground.path, bytes.fill(0x55, 4096))
    if (how === 'gone' || how === 'log only') rmSync(ground.path)
    if (how === 'log only') writeFileSync(`${ground.path}-wal`, 'what may hold messages')
    const { kept, loss } = await restore(ground, backup)
    assert.equal(loss, null, how)
    assert.equal(kept === null, how === 'gone')
    if (how === 'header' || how === 'middle') assert.deepEqual(readFileSync(kept ?? ''), bytes, how)
    if (how === 'log only') {
      assert.equal(readFileSync(`${kept}-wal`, 'utf8'), 'what may hold messages', how)
    }
    assert.deepEqual(await textsTo(ground, b), ['one'], how)
    const [id = 0] = await send(ground, a, 'three')
    assert.ok(id > 100_000, `${how}: nobody knows which ids were given, and ${id} is near`)
    assert.deepEqual(await textsTo(ground, b, 2), ['three'])
  }
})

test('what is damaged is not restored, and nothing is changed', async () => {
  await using ground = await Ground.make()
  const { a, b } = await populate(ground, 'one')
  const backup = await backUp(ground)
  await send(ground, a, 'two')
  const sound = readFileSync(backup)
  const files = beside(ground)
  writeFileSync(backup, Buffer.from(sound).fill(0x55, 4096))
  const damaged = await refused('unavailable', restore(ground, backup))
  assert.match(damaged.message, /nothing was restored: .*backups\/bridge-.* is damaged/)
  writeFileSync(backup, 'text')
  await refused('invalid', restore(ground, backup))
  await refused('not_found', restore(ground, `${backup}x`))
  await refused('invalid', restore(ground, ground.path))
  writeFileSync(backup, sound)
  writeFileSync(`${backup}-wal`, 'a log')
  assert.match((await refused('invalid', restore(ground, backup))).message, /has a log beside it/)
  assert.deepEqual(beside(ground), files)
  assert.deepEqual(await textsTo(ground, b), ['one', 'two'])
})

test('a database of something else is never replaced', async () => {
  await using ground = await Ground.make()
  await populate(ground, 'one')
  const backup = await backUp(ground)
  rmSync(ground.path)
  ground.look((database) => database.exec('CREATE TABLE recipes (cake TEXT)'))
  const before = readFileSync(ground.path)
  assert.match((await refused('invalid', restore(ground, backup))).message, /is a database of something else/)
  assert.deepEqual(readFileSync(ground.path), before)
})

test('one of a newer S2 is replaced by what this one can read', async () => {
  await using ground = await Ground.make()
  const { b } = await populate(ground, 'one')
  const backup = await backUp(ground)
  ground.look((database) => database.exec("INSERT INTO s2_migrations VALUES (9999, 'future', 0)"))
  const { loss } = await restore(ground, backup)
  assert.equal(loss, null)
  assert.deepEqual(await textsTo(ground, b), ['one'])
})

test('tokens and ends that were given since stay in force', async () => {
  await using ground = await Ground.make()
  const one = await populate(ground)
  const other = await populate(ground)
  const backup = await backUp(ground)
  const [token, ends] = await using(ground, async (store) => {
    await store.endConversation(other.opened.id)
    const { expiresAt } = await store.renewConversation(one.opened.id, 9 * HOUR)
    return [await store.rotateToken(one.b, HOUR), expiresAt] as const
  })
  await restore(ground, backup)
  await using(ground, async (store) => {
    assert.deepEqual(await store.tokens(one.b), [token, one.opened.tokens.b])
    const live = await store.conversations()
    assert.deepEqual(
      live.map(({ id, expiresAt }) => [id, expiresAt]),
      [[one.opened.id, ends]],
    )
  })
})

test('who was revoked since stays out, a used invitation is no good again, and who joined since has to join anew', async () => {
  await using ground = await Ground.make()
  const admission = { host: 'host', role: null, orchestrator: 'orchestrator', lifetimeMs: HOUR }
  const admit = async (agent: string, secretHash: string | null, role: string | null = null) => {
    const { key, recipient } = await makeIdentity()
    return await using(ground, async (store) =>
      store.admitWorker({ ...admission, agent, key, recipient, secretHash, role }),
    )
  }
  const secretHash = 'x'.repeat(43)
  const thief = await admit('s2-worker-1', null, 'tests')
  await using(ground, async (store) => {
    await store.inviteWorker({ agent: 's2-worker-2', role: 'tests', secretHash, endsAt: Date.now() + HOUR })
  })
  const backup = await backUp(ground)
  await using(ground, (store) => store.revokeWorker('s2-worker-1'))
  await admit('s2-worker-2', secretHash)
  await restore(ground, backup)
  const workers = await using(ground, (store) => store.workers())
  assert.deepEqual(
    workers.map(({ agent, conversation, key, revokedAt }) => [agent, conversation, key !== null, revokedAt !== null]),
    [
      ['s2-worker-1', thief.conversation, true, true],
      ['s2-worker-2', null, false, false],
    ],
  )
  await assert.rejects(admit('s2-worker-2', secretHash), { code: 'conflict' })
})

test('where nobody knows, conversations that lived then have the rest of their time from now', async () => {
  let wall = Date.now()
  await using ground = await Ground.make({
    clock: { now: () => performance.now(), wall: () => wall, sleep: (ms, signal) => sleep(ms, undefined, { signal }) },
  })
  const one = await populate(ground, 'one')
  const ended = await populate(ground)
  await using(ground, (store) => store.endConversation(ended.opened.id))
  wall += 100
  const backup = await backUp(ground)
  wall += 20 * HOUR
  rmSync(ground.path)
  await restore(ground, backup)
  await using(ground, async (store) => {
    const live = await store.conversations()
    assert.deepEqual(
      live.map(({ id, expiresAt }) => [id, expiresAt]),
      [[one.opened.id, one.opened.expiresAt + 20 * HOUR]],
    )
  })
})

test('an epoch that was given fences again, and who held a task then does not hold it now', async () => {
  for (const how of ['known', 'unknown'] as const) {
    await using ground = await Ground.make()
    const { a, b } = await populate(ground)
    const other = await populate(ground)
    const add = (id: string) =>
      using(ground, (store) => {
        const deadline = null
        return store.addTask({ id, description: id, priority: 'P1', role: null, holder: b, deadline, createdBy: a })
      })
    for (const id of ['same', 'moved', 'done']) await add(id)
    await using(ground, async (store) => {
      for (const passing of [[], ['same'], ['same', 'moved']]) await store.leaseTask(b, 'life-1', passing)
    })
    const backup = await backUp(ground)
    await add('later')
    const moved = await using(ground, async (store) => {
      const task = await store.task('moved')
      assert.ok(await store.move({ task: 'moved', epoch: task.epoch, to: other.b, reason: 'silent' }))
      const { epoch } = await store.task('done')
      const result = { exitCode: 0, signal: null, tail: '' }
      await store.report(b, { task: 'done', epoch, state: 'completed', progress: null, result })
      return (await store.task('moved')).epoch
    })
    if (how === 'unknown') rmSync(ground.path)
    const { loss } = await restore(ground, backup)
    if (how === 'known') assert.deepEqual({ tasks: loss?.tasks, reopened: loss?.reopened }, { tasks: 1, reopened: 1 })
    await using(ground, async (store) => {
      const report = { state: 'in_progress', progress: null, result: null } as const
      await refused('stale_epoch', store.report(b, { task: 'moved', epoch: 1, ...report }))
      // Where the former database is gone, nobody knows any more that it held the task.
      await refused(
        how === 'known' ? 'stale_epoch' : 'not_found',
        store.report(other.b, { task: 'moved', epoch: moved, ...report }),
      )
      const leased = new Map<string, number>()
      const next = (): Promise<Task | null> => store.leaseTask(b, 'life-1', [...leased.keys()])
      for (let task = await next(); task !== null; task = await next()) leased.set(task.id, task.epoch)
      assert.deepEqual([...leased.keys()].sort(), ['done', 'moved', 'same'])
      assert.ok((leased.get('moved') ?? 0) > moved, 'its epoch was given before')
      await store.report(b, { task: 'moved', epoch: leased.get('moved') ?? 0, ...report })
    })
  }
})

test('a conversation goes on to mean what it meant by the name of a task, and late reports keep their epoch', async () => {
  await using ground = await Ground.make()
  const [one, other] = await using(ground, async (store) => [
    await openChannel(store),
    await openChannel(store, 's2-worker-2'),
  ])
  const say = (from: SessionId, key: string, fields: object) =>
    using(ground, (store) => store.send(from, key, { text: JSON.stringify(fields) }))
  await say(one.a, 'k', { type: 'task_assignment', task_id: 'T', description: 'the first' })
  const backup = await backUp(ground)
  await say(other.a, 'k', { type: 'task_assignment', task_id: 'T-reassigned', description: 'the first' })
  await using(ground, (store) => store.move({ task: 'T', epoch: 2, to: one.b, reason: 'by_hand' }))
  await restore(ground, backup)
  await say(other.b, 'l', { type: 'task_completed', task_id: 'T-reassigned', summary: 'late' })
  const late = await using(ground, (store) => store.evidence('T'))
  assert.deepEqual(
    late.map(({ holder, report }) => [holder, report.epoch]),
    [[other.b, 2]],
  )
})

test('files are reserved as they were last, and what was released before is not reserved again', async () => {
  await using ground = await Ground.make()
  const { b } = await populate(ground)
  const wish = { repository: ['app'], mode: 'exclusive', forMs: HOUR, task: null, epoch: null, note: null } as const
  await using(ground, (store) => store.reserveFiles(b, { ...wish, globs: ['before.ts'] }))
  const backup = await backUp(ground)
  await using(ground, async (store) => {
    await store.releaseFiles(b, { repository: null, globs: null })
    await store.reserveFiles(b, { ...wish, globs: ['since.ts'] })
  })
  await restore(ground, backup)
  const held = await using(ground, (store) => store.reservations())
  assert.deepEqual(
    held.map(({ glob }) => glob),
    ['since.ts'],
  )
})

test('killed at any moment, it leaves the former one or the restored one, each whole', async () => {
  await using ground = await Ground.make()
  const { a, b } = await populate(ground, 'one')
  const backup = await backUp(ground)
  await send(ground, a, 'two')
  const main = mainOf('cli')
  const env = { PATH: process.env.PATH, S2_STATE: ground.folder }
  const run = () => spawn(process.execPath, [main, 'restore', backup], { env, stdio: 'ignore' })
  let wholeMs = Number.POSITIVE_INFINITY
  for (let n = 0; n < 3; n += 1) {
    const began = performance.now()
    await once(run(), 'exit')
    wholeMs = Math.min(wholeMs, performance.now() - began)
  }
  let killed = 0
  for (let round = 1; round <= 12 || killed < 4; round += 1) {
    const began = performance.now()
    const child = run()
    const exit = once(child, 'exit')
    await Promise.race([sleep((wholeMs * ((round % 12) + 6)) / 20), exit])
    child.kill('SIGKILL')
    await exit
    if (child.signalCode === 'SIGKILL') killed += 1
    else wholeMs = Math.min(wholeMs, performance.now() - began) // the machine has become faster
    assert.ok(existsSync(ground.path), 'the name stood for nothing')
    await using(ground, async (store) => {
      const texts = (await store.unacked(b, 0, 10)).map(({ text }) => text)
      assert.ok(['one', 'one,two'].includes(String(texts)), String(texts))
      if (texts.length === 1) await store.send(a, `again ${round}`, { text: 'two' })
    })
  }
})
