/** A reader of a database that others make, fill, replace and remove; and news of what they commit. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, readlinkSync, renameSync, rmSync, statSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'
import type { Store } from '#store/store.ts'
import { singly } from '../../singly.ts'
import { until } from '../../until.ts'
import { Ground, noPython, openChannel, refused } from './sqlite-ground.ts'

/** Messages as they come, one at a time. */
class Listener implements AsyncDisposable {
  readonly #stop = new AbortController()
  readonly #batches: AsyncIterator<readonly StoredMessage[]>
  #waiting: StoredMessage[] = []

  constructor(store: Store, after = 0) {
    this.#batches = store.traffic(after, this.#stop.signal)[Symbol.asyncIterator]()
  }

  async next(): Promise<StoredMessage> {
    while (this.#waiting.length === 0) {
      const batch = await this.#batches.next()
      assert.ok(batch.done !== true, 'the traffic ended')
      this.#waiting = [...batch.value]
    }
    return this.#waiting.shift() as StoredMessage
  }

  async texts(count: number): Promise<string[]> {
    const texts: string[] = []
    while (texts.length < count) texts.push((await this.next()).text)
    return texts
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#batches.return?.()
  }
}

async function sendAll(store: Store, from: SessionId, ...texts: string[]): Promise<void> {
  for (const text of texts) await store.send(from, `${from} ${text} ${Math.random()}`, { text })
}

test('a reader waits for the database, and misses nothing of it', async () => {
  await using ground = await Ground.make()
  const path = join(ground.folder, 'not', 'yet', 'bridge.db')
  const reader = await ground.open('read', path)
  await using traffic = new Listener(reader)
  const first = traffic.next()
  await refused('unavailable', reader.conversations())
  assert.equal(statSync(join(ground.folder, 'not'), { throwIfNoEntry: false }), undefined, 'it makes nothing')
  const store = await ground.open('write', path)
  const { opened, a } = await openChannel(store)
  await sendAll(store, a, 'one', 'two', 'three')
  assert.equal((await first).text, 'one')
  assert.deepEqual(await traffic.texts(2), ['two', 'three'])
  assert.deepEqual(
    (await reader.conversations()).map(({ agents }) => agents),
    [opened.agents],
  )
})

test('a reader refuses to write, and writes nothing', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { opened, a, b } = await openChannel(store)
  await sendAll(store, a, 'one')
  await store[Symbol.asyncDispose]()
  rmSync(join(ground.folder, 'liveness.db')) // a writer makes it when it starts
  const reader = await ground.open('read')
  const print = (): string => createHash('sha256').update(readFileSync(ground.path)).digest('hex')
  const before = print()
  await using traffic = new Listener(reader)
  assert.equal((await traffic.next()).text, 'one')
  for (const asked of [
    () => reader.send(a, 'k', { text: 'x' }),
    () => reader.mark(b, [1], 'acked'),
    () => reader.beat([]),
    () => reader.judge([]),
    () => reader.tend(),
    () => reader.endConversation(opened.id),
    () => reader.prune(0),
  ]) {
    await refused('forbidden', asked())
  }
  assert.equal((await reader.unacked(b, 0, 10)).length, 1)
  assert.equal(print(), before)
  assert.equal(statSync(join(ground.folder, 'liveness.db'), { throwIfNoEntry: false }), undefined)
  assert.deepEqual(await reader.pulses(7), { pulses: [], cursor: 7, tick: '' })
  assert.deepEqual(await reader.verdicts(), { at: null, verdicts: [] })
})

test('a database that only the Python bridge wrote is read as it is, and on when S2 joins', {
  skip: noPython,
}, async () => {
  await using ground = await Ground.make()
  const reader = await ground.open('read')
  await using traffic = new Listener(reader)
  const first = traffic.next()
  const python = await ground.startPython()
  const made = await python.call('create_conversation', { my_role: 'one', partner_role: 'two' })
  const asA = { conversation_id: made.conversation_id, session_id: 'a', token: made.a }
  await python.call('send_to_partner', { ...asA, message: 'hello' })
  const message = await first
  assert.equal(message.text, 'hello')
  assert.equal(message.action, 'info')
  assert.equal((await reader.conversations())[0]?.agents.a, `${made.conversation_id}/a`)
  assert.deepEqual(await reader.tasks({}), [])
  const tables = ground.look((database) =>
    database.prepare("SELECT count(*) FROM sqlite_schema WHERE name LIKE 's2%'").pluck().get(),
  )
  assert.equal(tables, 0, 'a reader adds no tables')

  const store = await ground.open()
  await sendAll(store, `${made.conversation_id}/b` as SessionId, 'hello to you')
  await python.call('send_to_partner', { ...asA, message: 'third' })
  assert.deepEqual(await traffic.texts(2), ['hello to you', 'third'])
  await store.addTask({
    id: 't',
    description: 'x',
    priority: 'P1',
    role: null,
    holder: null,
    deadline: null,
    createdBy: null,
  })
  await until('it sees our tables', async () => (await reader.tasks({})).length > 0)
})

test('a reader goes on when the file is deleted and made anew', async () => {
  await using ground = await Ground.make()
  const reader = await ground.open('read')
  await using traffic = new Listener(reader)
  for (const round of ['first', 'second', 'third']) {
    const store = await openSqliteStore(ground.path, ground.parts)
    const { a } = await openChannel(store)
    await sendAll(store, a, `${round} 1`, `${round} 2`)
    assert.deepEqual(await traffic.texts(2), [`${round} 1`, `${round} 2`])
    await store[Symbol.asyncDispose]()
    for (const suffix of ['', '-wal', '-shm']) rmSync(`${ground.path}${suffix}`, { force: true })
  }
  assert.ok(ground.log.records.some(({ event }) => event.startsWith('another database is in its place')))
})

test('a reader goes on when a copy is renamed over the file, and repeats nothing it need not', async () => {
  await using ground = await Ground.make()
  const first = await openSqliteStore(ground.path, ground.parts)
  const { a } = await openChannel(first)
  await sendAll(first, a, 'one', 'two')
  const reader = await ground.open('read')
  await using traffic = new Listener(reader)
  assert.deepEqual(await traffic.texts(2), ['one', 'two'])
  ground.look((database) => database.exec(`VACUUM INTO '${ground.path}.copy'`))
  await first[Symbol.asyncDispose]()
  unlinkSync(ground.path)
  for (const suffix of ['-wal', '-shm']) rmSync(`${ground.path}${suffix}`, { force: true })
  renameSync(`${ground.path}.copy`, ground.path)
  const second = await ground.open()
  await sendAll(second, a, 'three')
  assert.deepEqual(await traffic.texts(1), ['three'])
})

test('a reader passes a bad file over, tells once, and takes the good one that comes', async () => {
  await using ground = await Ground.make()
  const reader = await ground.open('read')
  await using traffic = new Listener(reader)
  const first = traffic.next()
  ground.look((database) => database.exec('CREATE TABLE other (x)'))
  const told = (): unknown[] => ground.log.records.flatMap(({ fields }) => fields.error ?? [])
  await until('it tells', () => told().length > 0)
  assert.match(String(told()[0]), /something else/)
  await refused('unavailable', reader.unacked('conv_x/a', 0, 1))
  await ground.parts.clock.sleep(600)
  assert.equal(told().length, 1, 'told once')
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${ground.path}${suffix}`, { force: true })
  const store = await ground.open()
  const { a } = await openChannel(store)
  await sendAll(store, a, 'at last')
  assert.equal((await first).text, 'at last')
})

test('what another process commits is heard, each message once and in order', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { a, b } = await openChannel(store)
  const reader = await ground.open('read')
  await using traffic = new Listener(reader)
  const stop = new AbortController()
  const mail = singly(store.mail(b, 0, stop.signal))[Symbol.asyncIterator]()
  const sender = await ground.startScript(
    new URL('./sqlite-sender.ts', import.meta.url),
    ground.path,
    a,
    'k',
    '500',
    '3',
  )
  const heard: number[] = []
  const mailed: number[] = []
  while (heard.length < 500) heard.push((await traffic.next()).id)
  while (mailed.length < 500) mailed.push(((await mail.next()).value as StoredMessage).id)
  const expected = Array.from({ length: 500 }, (_, index) => index + 1)
  assert.deepEqual(heard, expected)
  assert.deepEqual(mailed, expected)
  assert.equal((await sender.hearOut()).length, 500)
  stop.abort()
  assert.equal((await mail.next()).done, true)
})

test('whoever listens first to a store just opened misses nothing that others commit meanwhile', async () => {
  const [ROUNDS, READERS, EACH] = [4, 6, 60]
  await using ground = await Ground.make()
  const seed = await ground.open()
  const channels = await Promise.all(Array.from({ length: READERS }, (_, n) => openChannel(seed, `w-${n}`)))
  const script = new URL('./sqlite-sender.ts', import.meta.url)
  let sent = 0
  for (let round = 0; round < ROUNDS; round += 1) {
    const senders = await Promise.all(
      channels
        .slice(0, 2)
        .map(({ a }) =>
          ground.startScript(script, ground.path, a, `r${round}-`, String(EACH), String(1 + (round % 4))),
        ),
    )
    await Promise.all(senders.map((sender) => sender.hear()))
    // Both are at work: of some rounds the one is killed, so that its log is left for others to take over.
    if (round % 2 === 1) await senders[1]?.kill()
    const stop = new AbortController()
    const store = await ground.open(round % 3 === 2 ? 'read' : 'write')
    const traffic = store.traffic(sent, stop.signal)[Symbol.asyncIterator]()
    const mail = channels.map(({ b }) => singly(store.mail(b, sent, stop.signal))[Symbol.asyncIterator]())
    const own = channels.slice(2).map(async ({ a }) => {
      for (let n = 0; n < 10; n += 1) await seed.send(a, `r${round}-${n}`, { text: `${n}` })
    })
    await Promise.all([...own, ...senders.map((sender) => sender.hearOut())])
    const all = ground.look((database) =>
      database.prepare('SELECT id, conversation_id AS conversation FROM messages WHERE id > ? ORDER BY id').all(sent),
    ) as { id: number; conversation: string }[]
    const heard: number[] = []
    while (heard.length < all.length) {
      heard.push(...((await traffic.next()).value as readonly StoredMessage[]).map(({ id }) => id))
    }
    const ids = all.map(({ id }) => id)
    assert.deepEqual(heard, ids)
    for (const [at, { opened }] of channels.entries()) {
      const theirs = all.filter(({ conversation }) => conversation === opened.id)
      for (const { id } of theirs) assert.equal((await mail[at]?.next())?.value.id, id)
    }
    sent = ids.at(-1) ?? sent
    stop.abort()
    await store[Symbol.asyncDispose]()
  }
  assert.ok(sent > ROUNDS * (EACH + 40), `${sent} messages`)
})

test('conversations that another process opens, renews and ends are seen', async () => {
  await using ground = await Ground.make()
  const [one, two] = [await ground.open(), await ground.open()]
  const reader = await ground.open('read')
  const ids = async (store: Store): Promise<string[]> => (await store.conversations()).map(({ id }) => id)
  assert.deepEqual(await ids(reader), [])
  const { opened } = await openChannel(one)
  const other = await openChannel(two)
  for (const store of [one, two, reader]) assert.deepEqual(await ids(store), [opened.id, other.opened.id])
  const { expiresAt } = await two.renewConversation(opened.id, 7_200_000)
  for (const store of [one, two, reader]) assert.equal((await store.conversations())[0]?.expiresAt, expiresAt)
  await one.endConversation(opened.id)
  for (const store of [one, two, reader]) assert.deepEqual(await ids(store), [other.opened.id])
  ground.look((database) => database.prepare('DELETE FROM conversations WHERE id = ?').run(other.opened.id))
  ground.look((database) =>
    database.exec(
      "INSERT INTO conversations VALUES ('conv_foreign', 'x', 'y', '', '', '2026-01-01T00:00:00', '2999-01-01T00:00:00')",
    ),
  )
  // a foreign hand that deletes the last row leaves no trace; the store looks again within a minute
  assert.ok((await ids(reader)).length >= 1)
})

test('a store that is closed refuses everything, ends its streams, and holds nothing open', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { a, b } = await openChannel(store)
  const signal = new AbortController().signal
  const waiting = [singly(store.mail(b, 0, signal)), store.traffic(0, signal)].map((each) =>
    each[Symbol.asyncIterator]().next(),
  )
  const sent = store.send(a, 'k', { text: 'on its way' })
  await store[Symbol.asyncDispose]()
  assert.equal((await sent).text, 'on its way')
  for (const next of waiting) await next
  for (const asked of [
    () => store.send(a, 'k2', { text: 'x' }),
    () => store.unacked(b, 0, 1),
    () => store.conversations(),
    () => store.beat([]),
    () => store.pulses(0),
    () => store.judge([]),
    () => store.verdicts(),
    () => store.tend(),
  ]) {
    await refused('unavailable', asked())
  }
  for await (const _ of singly(store.mail(b, 0, signal))) assert.fail('a closed store has no mail')
  const open = readdirSync('/proc/self/fd').map((each) => {
    try {
      return readlinkSync(`/proc/self/fd/${each}`)
    } catch {
      return ''
    }
  })
  assert.deepEqual(
    open.filter((each) => each.startsWith(ground.folder)),
    [],
  )
})
