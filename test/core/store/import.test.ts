/** What other bridges kept, and what S2 kept in a file that lost its place, is brought over: once, and with nothing altered there. */
import assert from 'node:assert/strict'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import Database from 'better-sqlite3'
import { systemClock } from '#runtime/clock.ts'
import { type Import, type ImportOrder, importDatabase, planImport } from '#store/sqlite/import/import-database.ts'
import { SourceFile } from '#store/sqlite/import/source-file.ts'
import { pythonTime } from '#store/sqlite/python/python-format.ts'
import type { Store } from '#store/store.ts'
import { Ground, noPython, openChannel, refused, runTool } from './sqlite-ground.ts'

const HOUR = 3_600_000
const CONV = 'conv_0000000000000001'
const TOKEN = { a: 'a1'.repeat(32), b: 'b2'.repeat(32) }

/** A file to bring over, and the database that it is brought into. */
class Crossing {
  readonly ground: Ground
  readonly order: ImportOrder

  constructor(ground: Ground) {
    this.ground = ground
    const at = (name: string): string => join(ground.folder, name)
    this.order = { file: at('old.db'), database: at('bridge.db'), state: at('state'), lifetimeMs: HOUR }
  }

  sql(text: string, ...values: unknown[]): void {
    this.ground.look((database) => {
      database.pragma('foreign_keys = OFF') // as Python has it
      if (values.length === 0) database.exec(text)
      else database.prepare(text).run(...values)
    }, this.order.file)
  }

  plan(): Promise<Import> {
    return planImport(this.order, this.#parts())
  }

  take(): Promise<Import> {
    return importDatabase(this.order, this.#parts())
  }

  #parts() {
    return { ...this.ground.parts, roomIn: () => 1e12 }
  }
}

function at(ms: number): string {
  return pythonTime(Date.now() + ms)
}

function json(fields: object): string {
  return JSON.stringify(fields)
}

const assignment = (id: string): string => json({ type: 'task_assignment', task_id: id, description: `do ${id}` })
const completion = (id: string): string => json({ type: 'status_update', task_id: id, status: 'completed' })

/** Counts what a plan brings over. */
function counts({ conversations }: Import): Record<string, unknown> {
  return Object.fromEntries(
    conversations.map(({ conversation, state, tokens, messages, unread, openTasks }) => [
      conversation.id,
      [state, tokens, messages.length, unread.a, unread.b, openTasks.join()],
    ]),
  )
}

const TABLES = `
  CREATE TABLE conversations (id TEXT PRIMARY KEY, session_a_role TEXT NOT NULL, session_b_role TEXT NOT NULL,
    session_a_token TEXT NOT NULL, session_b_token TEXT NOT NULL, created_at TEXT NOT NULL, expires_at TEXT NOT NULL);
  CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, conversation_id TEXT NOT NULL, from_session TEXT NOT NULL,
    to_session TEXT NOT NULL, message TEXT NOT NULL, metadata TEXT, timestamp TEXT NOT NULL, read INTEGER DEFAULT 0,
    FOREIGN KEY (conversation_id) REFERENCES conversations(id));
  CREATE TABLE session_status (conversation_id TEXT NOT NULL, session_id TEXT NOT NULL, status TEXT NOT NULL,
    last_heartbeat TEXT NOT NULL, PRIMARY KEY (conversation_id, session_id));
  CREATE TABLE audit_log (id INTEGER PRIMARY KEY AUTOINCREMENT, conversation_id TEXT, session_id TEXT, action TEXT NOT NULL,
    details TEXT, timestamp TEXT NOT NULL);`

const CONVERSATION = 'INSERT INTO conversations VALUES (?, ?, ?, ?, ?, ?, ?)'
const MESSAGE = `INSERT INTO messages (conversation_id, from_session, to_session, message, metadata, timestamp, read)
  VALUES (?, ?, ?, ?, ?, ?, ?)`

/** A file as the Python bridge leaves it: a live conversation, one that ended with something open, and one that is over. */
function fillBridge(crossing: Crossing): void {
  crossing.sql(TABLES)
  const open = (id: string, ends: number): void =>
    crossing.sql(CONVERSATION, id, 's2-orchestrator', 'worker-3-tests', TOKEN.a, TOKEN.b, at(-HOUR), at(ends))
  open('conv_0000000000000001', HOUR)
  open('conv_0000000000000002', -60_000)
  open('conv_0000000000000003', -60_000)
  let sent = 0
  const say = (id: string, from: 'a' | 'b', text: string, isRead: boolean): void => {
    sent += 1
    const metadata = json({ action_type: 'info', files_involved: ['x.ts'] })
    crossing.sql(MESSAGE, id, from, from === 'a' ? 'b' : 'a', text, metadata, at(-HOUR / 2 + sent), isRead ? 1 : 0)
  }
  say('conv_0000000000000001', 'a', 'read long ago', true)
  say('conv_0000000000000001', 'a', assignment('T-done'), true)
  say('conv_0000000000000001', 'b', completion('T-done'), true)
  say('conv_0000000000000001', 'a', assignment('T-open'), true)
  say('conv_0000000000000001', 'b', 'unread, to a', false)
  say('conv_0000000000000001', 'b', 'unread, to a', false)
  say('conv_0000000000000002', 'a', assignment('T-two'), false)
  say('conv_0000000000000003', 'a', 'over', true)
  say('conv_0000000000000009', 'a', 'of no conversation', false)
}

const FROM_BRIDGE = {
  conv_0000000000000001: ['live', 'kept', 3, 2, 0, 'T-open'],
  conv_0000000000000002: ['ended', 'new', 1, 0, 1, 'T-two'],
}

test('a file of the Python bridge: shown first; then live conversations, unread mail and open tasks are taken, and once', async () => {
  await using ground = await Ground.make()
  const crossing = new Crossing(ground)
  fillBridge(crossing)
  const before = readFileSync(crossing.order.file)
  const planned = await crossing.plan()
  assert.deepEqual(counts(planned), FROM_BRIDGE)
  assert.deepEqual(planned.leftBehind, [
    { what: 'message', why: 'read, and about no open task', count: 4 },
    { what: 'conversation', why: 'ended, with nothing unread or open', count: 1 },
    { what: 'message', why: 'of a conversation that is not in the file', count: 1 },
  ])
  assert.equal(existsSync(crossing.order.database), false, 'a dry run makes nothing')

  assert.deepEqual(counts(await crossing.take()), FROM_BRIDGE)
  const store = await ground.open()
  const live = await store.conversations()
  assert.deepEqual(
    live.map(({ id }) => id),
    ['conv_0000000000000001', 'conv_0000000000000002'],
  )
  assert.deepEqual(await store.tokens('conv_0000000000000001/b'), [TOKEN.b], 'whoever knows its token goes on')
  const [fresh] = await store.tokens('conv_0000000000000002/b')
  assert.match(fresh ?? '', /^[0-9a-f]{64}$/)
  assert.notEqual(fresh, TOKEN.b, 'a token that ended does not live again')
  const unread = await store.unacked('conv_0000000000000001/a', 0, 100)
  assert.deepEqual(
    unread.map(({ text, action, files, delivery }) => [text, action, files, delivery]),
    Array(2).fill(['unread, to a', 'info', ['x.ts'], 'queued']),
  )
  assert.ok(Math.abs((unread[0]?.sentAt ?? 0) - (Date.now() - HOUR / 2)) < 60_000, 'they keep their time')
  await settle(store)
  assert.deepEqual((await store.tasks({ open: true })).map(({ id }) => id).sort(), ['T-open', 'T-two'])
  assert.deepEqual(counts(await crossing.take()), {}, 'twice is once, also while the database is in use')
  assert.deepEqual(readFileSync(crossing.order.file), before)
  crossing.sql(MESSAGE, 'conv_0000000000000001', 'a', 'b', 'one more', null, at(0), 0)
  crossing.sql(MESSAGE, 'conv_0000000000000001', 'a', 'b', 'and another', null, at(0), 0)
  assert.deepEqual(counts(await crossing.plan()), { conv_0000000000000001: ['live', 'here', 2, 0, 2, ''] })
  await crossing.take()
  assert.deepEqual(
    (await store.unacked('conv_0000000000000001/b', 0, 100)).map(({ text }) => text),
    ['one more', 'and another'],
  )
  assert.deepEqual(readdirSync(crossing.order.state), [], 'no copy is left')
})

/** Tends until what came over is taken in. */
async function settle(store: Store): Promise<void> {
  for (let round = 0; round < 5; round += 1) await store.tend()
}

test("a file of the protocol's scripts, with the tables that its helpers add", async () => {
  await using ground = await Ground.make()
  const crossing = new Crossing(ground)
  crossing.sql(`
    CREATE TABLE conversations (id TEXT PRIMARY KEY, role_a TEXT, role_b TEXT, created_at TEXT DEFAULT CURRENT_TIMESTAMP);
    CREATE TABLE messages (id INTEGER PRIMARY KEY, conversation_id TEXT, sender TEXT, content TEXT, action_type TEXT,
      created_at TEXT DEFAULT CURRENT_TIMESTAMP, read_by_b INTEGER DEFAULT 0);
    CREATE TABLE session_status (conversation_id TEXT PRIMARY KEY, session_id TEXT, last_heartbeat TEXT, status TEXT DEFAULT 'active');
    CREATE TABLE audit_log (event_type TEXT, conversation_id TEXT, metadata TEXT, timestamp TEXT);
    INSERT INTO conversations (id, role_a, role_b) VALUES ('conv_a', 'Orchestrator', 'Worker-3'), ('conv_b', 'x', 'y');
    INSERT INTO session_status VALUES ('conv_a', 'session_b', '2026-11-30 01:02:03', 'active');
    INSERT INTO audit_log VALUES ('task_reassigned', 'conv_a', '{}', '2026-11-30 01:02:03');`)
  const say = (sender: string, content: string, read: number): void =>
    crossing.sql(
      'INSERT INTO messages (conversation_id, sender, content, action_type, read_by_b) VALUES (?, ?, ?, ?, ?)',
      'conv_a',
      sender,
      content,
      'info',
      read,
    )
  say('orchestrator', 'read by b', 1)
  say('session_a', assignment('T-1'), 1)
  say('worker-3', 'from b; what is said of it says nothing of a', 1)
  say('Alice', 'who is that', 0)
  say('a', 'unread by b', 0)
  const planned = await crossing.plan()
  assert.equal(planned.kind, 'scripts')
  assert.deepEqual(counts(planned), { conv_a: ['ended', 'new', 3, 1, 1, 'T-1'] })
  assert.deepEqual(planned.leftBehind, [
    { what: 'message', why: 'whose sender "Alice" is neither end of its conversation', count: 1 },
    { what: 'message', why: 'read, and about no open task', count: 1 },
    { what: 'conversation', why: 'ended, with nothing unread or open', count: 1 },
  ])
  await crossing.take()
  const store = await ground.open()
  assert.deepEqual((await store.conversations())[0]?.roles, { a: 'Orchestrator', b: 'Worker-3' })
  const [only] = await store.unacked('conv_a/b', 0, 10)
  assert.deepEqual([only?.text, only?.action], ['unread by b', 'info'])
  assert.ok(Math.abs((only?.sentAt ?? 0) - Date.now()) < 60_000, 'a time of SQLite is read as UTC')
  await settle(store)
  assert.deepEqual(
    (await store.tasks({ open: true })).map(({ id, holder }) => [id, holder]),
    [['T-1', 'conv_a/b']],
  )
  assert.deepEqual(counts(await crossing.take()), {})
})

test('an older bridge without metadata; a file that says nothing of reading; a file of something else', async () => {
  await using ground = await Ground.make()
  const crossing = new Crossing(ground)
  const older = TABLES.replace('metadata TEXT, ', '')
  crossing.sql(older)
  crossing.sql(CONVERSATION, 'conv_old', 'boss', 'docs', TOKEN.a, 'short', at(-HOUR), at(HOUR))
  const insert =
    'INSERT INTO messages (conversation_id, from_session, to_session, message, timestamp) VALUES (?, ?, ?, ?, ?)'
  crossing.sql(insert, 'conv_old', 'a', 'b', 'my password: hunter2hunter2', at(-1_000))
  crossing.sql(insert, 'conv_old', 'a', 'a', 'to myself', at(-1_000))
  assert.deepEqual(counts(await crossing.take()), { conv_old: ['live', 'new', 1, 0, 1, ''] })
  const store = await ground.open()
  assert.doesNotMatch((await store.unacked('conv_old/b', 0, 10))[0]?.text ?? '', /hunter2/)
  const kept = ground.look((database) => database.prepare('SELECT message FROM messages').pluck().get())
  assert.doesNotMatch(String(kept), /hunter2/, 'nor in the database')
  assert.deepEqual(counts(await crossing.take()), {}, 'what was redacted on the way is known again')

  const silent = { ...crossing.order, file: join(ground.folder, 'silent.db') }
  ground.look((database) => database.exec(TABLES.replace('read INTEGER DEFAULT 0,', '')), silent.file)
  const parts = { ...ground.parts, roomIn: () => 1e12 }
  assert.equal((await planImport(silent, parts)).knowsWhatWasRead, false)

  const refuse = async (sql: string): Promise<string> => {
    const file = join(ground.folder, 'else.db')
    ground.look((database) => database.exec(sql), file)
    return (await refused('invalid', planImport({ ...crossing.order, file }, parts))).message
  }
  assert.match(
    await refuse('CREATE TABLE bookmarks (url TEXT)'),
    /no database of a bridge: it has no table conversations/,
  )
  assert.match(
    await refuse(
      'CREATE TABLE conversations (id, role_a, role_b); CREATE TABLE messages (conversation_id, sender, body)',
    ),
    /its table messages has neither message nor content/,
  )
  assert.match(
    (await refused('invalid', planImport({ ...crossing.order, file: crossing.order.database }, parts))).next ?? '',
    /S2_STORE=sqlite:\S+ s2 import \S+/,
  )
  assert.match((await refused('not_found', planImport({ ...crossing.order, file: '/none' }, parts))).message, /no file/)
  await refused('invalid', planImport({ ...crossing.order, file: ground.folder }, parts))
  await refused('unavailable', planImport(crossing.order, { ...parts, roomIn: () => 1000 }))
  await refused('forbidden', planImport({ ...crossing.order, state: join(silent.file, 'below a file') }, parts))
})

test('a file in use is copied with its log, one of a read-only folder too, and nothing appears beside it', async () => {
  await using ground = await Ground.make()
  const crossing = new Crossing(ground)
  fillBridge(crossing)
  const user = new Database(crossing.order.file)
  try {
    user.pragma('journal_mode = WAL')
    user.prepare(MESSAGE).run('conv_0000000000000001', 'a', 'b', 'in the log', null, at(0), 0)
    const prints = (): string[] =>
      readdirSync(ground.folder)
        .filter((name) => name.startsWith('old.db') && !name.endsWith('-shm'))
        .map((name) => `${name} ${statSync(join(ground.folder, name)).mtimeMs}`)
    const before = prints()
    const { conversations } = await crossing.plan()
    assert.equal(conversations[0]?.unread.b, 1)
    assert.deepEqual(prints(), before)
  } finally {
    user.close()
  }
  chmodSync(crossing.order.file, 0o444)
  assert.equal((await crossing.plan()).conversations.length, 2)
  assert.equal(statSync(crossing.order.file).mode & 0o777, 0o444)
  assert.equal(existsSync(`${crossing.order.file}-shm`), false)
})

test('whatever ends it half-way, asking again goes on, and nothing comes twice', async () => {
  await using ground = await Ground.make()
  const crossing = new Crossing(ground)
  fillBridge(crossing)
  crossing.sql(`
    WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 2499)
    INSERT INTO messages (conversation_id, from_session, to_session, message, timestamp)
      SELECT 'conv_0000000000000001', 'a', 'b', 'message ' || i, '${at(0)}' FROM n`)
  await ground.open()
  const fault = `CREATE TRIGGER fault BEFORE INSERT ON messages WHEN NEW.message = 'message 1700'
    BEGIN SELECT RAISE(ABORT, 'power failure'); END`
  ground.look((database) => database.exec(fault))
  await assert.rejects(crossing.take())
  const unread = async (): Promise<number> =>
    ground.look((database) => database.prepare('SELECT count(*) FROM messages').pluck().get() as number)
  assert.equal(await unread(), 1_000, 'whole transactions only')
  ground.look((database) => database.exec('DROP TRIGGER fault'))
  await crossing.take()
  assert.equal(await unread(), 2_504)
  const texts = ground.look((database) => database.prepare('SELECT message FROM messages ORDER BY id').pluck().all())
  assert.equal(new Set(texts).size, 2_503, 'one text was sent twice')
})

test('what is brought over, read or unread, is no sign of life of its agents', async () => {
  let ahead = 0
  const clock = { ...systemClock, now: () => systemClock.now() + ahead, wall: () => systemClock.wall() + ahead }
  await using ground = await Ground.make({ clock })
  const crossing = new Crossing(ground)
  fillBridge(crossing)
  const store = await ground.open()
  const heard = async (): Promise<string[]> => {
    ahead += 2_000
    await settle(store)
    return (await store.pulses(0)).pulses.map(({ session }) => session)
  }
  assert.deepEqual(await heard(), [])
  await crossing.take()
  assert.deepEqual(await heard(), [])
  ground.look((database) => database.prepare(MESSAGE).run('conv_0000000000000001', 'a', 'b', 'own', null, at(0), 0))
  assert.deepEqual(await heard(), ['conv_0000000000000001/a'], 'what its agent sends by itself is one')
})

test('a file that S2 itself kept: each message that is missing here comes back, with its key', async () => {
  await using ground = await Ground.make()
  const crossing = new Crossing(ground)
  const store = await ground.open()
  const { a, b, opened } = await openChannel(store)
  const first = await store.send(a, 'key 1', { text: 'both have it' })
  await store.send(a, 'key 5', { text: 'both have it, and neither has read it' })
  ground.look((database) => database.exec(`VACUUM INTO '${crossing.order.file}'`))
  const held = await ground.open('write', crossing.order.file)
  const lost = await held.send(a, 'key 2', { text: 'lost, and acked' })
  await held.mark(b, [first.id, lost.id], 'acked')
  await held.send(b, 'key 3', { text: 'lost' })
  await held.send(b, 'key 4', { text: 'sent again since' })
  const alone = await openChannel(held, 's2-worker-2')
  await held.post(alone.b, { agent: 's2-worker-1' }, 'key 1', { text: 'lost, of another worker' })
  await held.addTask({
    id: 'T-lost',
    description: 'lost',
    priority: 'P2',
    role: null,
    holder: b,
    createdBy: a,
    deadline: null,
  })
  await held[Symbol.asyncDispose]()
  await store.send(b, 'key 4', { text: 'sent again since' })

  const planned = await crossing.plan()
  assert.equal(planned.kind, 's2')
  assert.deepEqual(counts(planned), {
    [opened.id]: ['live', 'here', 4, 1, 2, 'T-lost'],
    [alone.opened.id]: ['live', 'kept', 0, 0, 0, ''],
  })
  assert.deepEqual(planned.conversations[0]?.acks, [first.id])
  await crossing.take()
  assert.deepEqual(
    (await store.unacked(a, 0, 10)).map(({ text }) => text),
    ['sent again since', 'lost'],
  )
  const brought = (await store.conversations()).find(({ id }) => id === alone.opened.id)
  assert.deepEqual(brought?.agents, { a: 'orchestrator', b: 's2-worker-2' })
  assert.deepEqual(await store.tokens(alone.b), [alone.opened.tokens.b])
  const left = (await store.unacked(b, 0, 10)).filter(({ text }) => !text.startsWith('{'))
  assert.deepEqual(
    left.map(({ text, sender }) => [text, sender]),
    [
      ['both have it, and neither has read it', undefined],
      ['lost, of another worker', 's2-worker-2'],
    ],
    'what was read is not given again',
  )
  const posted = await store.post(alone.b, { agent: 's2-worker-1' }, 'key 1', { text: 'lost, of another worker' })
  assert.deepEqual(idsOf(posted), idsOf(left.slice(1)), 'its key is its writer’s')
  const again = await store.send(b, 'key 3', { text: 'lost' })
  assert.equal(
    (await store.unacked(a, 0, 10)).at(-1)?.id,
    again.id,
    'its sender may send it again: it is the same message',
  )
  await settle(store)
  assert.deepEqual(
    (await store.tasks({ open: true })).map(({ id, holder }) => [id, holder]),
    [['T-lost', b]],
  )
  assert.deepEqual(counts(await crossing.take()), {})
})

test('an agent of the Python bridge goes on where its conversation was brought over', { skip: noPython }, async () => {
  await using ground = await Ground.make()
  const crossing = new Crossing(ground)
  const script = join(import.meta.dirname, 'python-bridge.py')
  const old = await ground.start('python3', [script, crossing.order.file])
  await old.hear()
  const made = await old.call('create_conversation', { my_role: 's2-orchestrator', partner_role: 'worker-3-tests' })
  const as = (side: 'a' | 'b') => ({ conversation_id: made.conversation_id, session_id: side, token: made[side] })
  await old.call('send_to_partner', { ...as('a'), message: 'before' })
  await crossing.take()
  const now = await ground.startPython()
  const { messages } = await now.call('check_messages', as('b'))
  assert.deepEqual(
    (messages as { message: string }[]).map(({ message }) => message),
    ['before'],
  )
  assert.deepEqual(counts(await crossing.take()), {}, 'what was read here since is not unread again')
})

test('a row with a field that is longer than any message is left behind, and the others are taken', async () => {
  await using ground = await Ground.make()
  const crossing = new Crossing(ground)
  crossing.sql(TABLES)
  crossing.sql(CONVERSATION, CONV, 'orchestrator', 'tests', TOKEN.a, TOKEN.b, at(-HOUR), at(HOUR))
  const say = (text: string, metadata: string): void =>
    crossing.sql(`INSERT INTO messages (conversation_id, from_session, to_session, message, metadata, timestamp)
      VALUES ('${CONV}', 'a', 'b', ${text}, ${metadata}, '${at(0)}')`)
  say('CAST(zeroblob(5000000) AS TEXT)', 'NULL') // to length() it is empty
  say("'with long metadata'", 'CAST(zeroblob(5000000) AS TEXT)')
  say("'as usual'", 'NULL')
  const taken = await crossing.take()
  assert.deepEqual(counts(taken), { [CONV]: ['live', 'kept', 1, 0, 1, ''] })
  assert.deepEqual(taken.leftBehind, [{ what: 'message', why: 'with a field of more than 4 MB', count: 2 }])
})

test('a pipe or a folder under the name of a log is refused by its path, and nothing waits for it', async () => {
  for (const suffix of ['-wal', '-journal']) {
    for (const make of [(path: string) => runTool('mkfifo', path), (path: string) => mkdirSync(path)]) {
      await using ground = await Ground.make()
      const crossing = new Crossing(ground)
      fillBridge(crossing)
      rmSync(`${crossing.order.file}-wal`, { force: true })
      make(crossing.order.file + suffix)
      const refusal = await refused('invalid', crossing.plan())
      assert.equal(refusal.message, `${crossing.order.file}${suffix} is not a file`)
      assert.match(refusal.next ?? '', /^no bridge made it, so move it away: mv /)
      assert.equal(existsSync(crossing.order.state), false, 'nothing was copied')
    }
  }
})

test('refusals of a file say what it is, and advise about the file', async () => {
  await using ground = await Ground.make()
  const crossing = new Crossing(ground)
  const { file } = crossing.order
  writeFileSync(file, 'no database '.repeat(1_000))
  const foreign = await refused('invalid', crossing.plan())
  assert.equal(foreign.message, `${file} is no database of a bridge: it is no database of SQLite`)
  assert.match(foreign.next ?? '', /^name the file in which a bridge/)
  rmSync(file)
  crossing.sql(
    TABLES.replace(/\n {4}to_session[^;]*;/, ' message TEXT, PRIMARY KEY (id)) WITHOUT ROWID;').replace(
      'id INTEGER PRIMARY KEY AUTOINCREMENT, conversation_id TEXT NOT NULL, from',
      'id INTEGER, conversation_id TEXT NOT NULL, from',
    ),
  )
  assert.match((await refused('invalid', crossing.plan())).message, /its rows have no numbers \(WITHOUT ROWID\)/)
})

test('a file with indexes under the names of ours is taken', async () => {
  await using ground = await Ground.make()
  const crossing = new Crossing(ground)
  fillBridge(crossing)
  crossing.sql('CREATE INDEX s2_import_messages ON messages (timestamp)')
  assert.deepEqual(counts(await crossing.plan()), FROM_BRIDGE)
})

test('what fails in a file is said of that file, and not of the database that it is brought into', async () => {
  await using ground = await Ground.make()
  const crossing = new Crossing(ground)
  fillBridge(crossing)
  using source = SourceFile.open(crossing.order.file, '/the/original.db')
  crossing.sql('DROP TABLE messages')
  assert.throws(() => source.strayMessages(), { code: 'invalid', message: /^\/the\/original\.db is no database/ })
})

function idsOf(messages: readonly { readonly id: number }[]): number[] {
  return messages.map(({ id }) => id)
}
