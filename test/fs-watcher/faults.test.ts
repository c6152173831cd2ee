/** What must not go wrong with wakes: kills at any moment, databases that are replaced, commands that fail or hang. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { SessionId } from '#fleet/session-id.ts'
import { watchesInForce } from '#runtime/folder-watch.ts'
import { recordingLog } from '#runtime/log.ts'
import { Inbox } from '#spool/inbox.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'
import { InboxSource } from '../../services/fs-watcher/inbox-source.ts'
import { DEEDS, leftBeside } from '../core/store/sqlite-deeds.ts'
import { isOver } from '../process-state.ts'
import { calls, parts, put, range, Stage, told } from './stage.ts'

const CHANNEL = { roles: { a: 'o', b: 'w' }, agents: { a: 'o', b: 'w' }, lifetimeMs: 3_600_000 }

describe('wakes', { concurrency: 2 }, () => {
  test('all conversations of an orchestrator are one target: one wake at a time', async () => {
    await using stage = new Stage()
    const path = stage.state('one')
    await using store = await openSqliteStore(join(path, 'bridge.db'), parts)
    const channels = [await store.openConversation(CHANNEL), await store.openConversation(CHANNEL)]
    const wake = `mkdir ${path}/lock || touch ${path}/twice; cat >> ${path}/calls; sleep 0.2; rmdir ${path}/lock`
    const watcher = stage.watch(path, { S2_SOURCE: 'database', S2_WAKE: wake })
    await watcher.says('ready')
    for (const n of range(1, 10)) await store.send(`${channels[n % 2]?.id}/b`, `key ${n}`, { text: `message ${n}` })
    await watcher.woken(10)
    assert.ok(!existsSync(join(path, 'twice')))
    assert.deepEqual(
      [...told(path)].sort((one, other) => one - other),
      range(1, 10),
    )
    assert.ok(calls(path).length < 10, 'what comes meanwhile goes together')
  })

  test('a database that is deleted and made anew, while the watcher runs and while it does not', async () => {
    await using stage = new Stage()
    const path = stage.state('anew')
    const database = join(path, 'bridge.db')
    const fill = async (text: string, count: number): Promise<void> => {
      await using store = await openSqliteStore(database, parts)
      const { id } = await store.openConversation(CHANNEL)
      for (const n of range(1, count)) await store.send(`${id}/b`, `${text} ${n}`, { text })
    }
    const remove = (): void => {
      for (const name of readdirSync(path)) if (name.startsWith('bridge.db')) rmSync(join(path, name))
    }
    await fill('first', 3)
    let watcher = stage.watch(path, { S2_SOURCE: 'database' })
    await watcher.woken(3)
    remove()
    await fill('second', 2)
    await watcher.woken(5)
    await watcher.end()
    remove()
    await fill('third', 1)
    watcher = stage.watch(path, { S2_SOURCE: 'database' })
    await watcher.woken(1)
    await fill('fourth', 1)
    await watcher.woken(2)
    const previews = calls(path).flatMap(({ messages }) => messages.map(({ preview }) => preview))
    assert.deepEqual(previews, ['first', 'first', 'first', 'second', 'second', 'third', 'fourth'])
  })

  test('what the Python bridge makes later is waited for, and its mail is heard', async () => {
    await using stage = new Stage()
    const path = stage.state('python')
    const watcher = stage.watch(path, { S2_SOURCE: 'database', S2_STORE: `sqlite:${path}/not/yet/bridge.db` })
    await watcher.says('ready')
    const waiting = await watcher.ask('/readyz')
    assert.equal(waiting.status, 503)
    assert.match(waiting.text, /there is no database/)
    const script = `
import os, sqlite3, sys, time
os.makedirs(os.path.dirname(sys.argv[1]))
db = sqlite3.connect(sys.argv[1]); db.execute('PRAGMA journal_mode=WAL'); time.sleep(0.3)
db.execute('CREATE TABLE conversations(id TEXT PRIMARY KEY, session_a_role TEXT NOT NULL, session_b_role TEXT NOT NULL, session_a_token TEXT NOT NULL, session_b_token TEXT NOT NULL, created_at TEXT NOT NULL, expires_at TEXT NOT NULL)')
db.execute('CREATE TABLE messages(id INTEGER PRIMARY KEY AUTOINCREMENT, conversation_id TEXT NOT NULL, from_session TEXT NOT NULL, to_session TEXT NOT NULL, message TEXT NOT NULL, metadata TEXT, timestamp TEXT NOT NULL, read INTEGER DEFAULT 0)')
db.execute('CREATE TABLE session_status(conversation_id TEXT NOT NULL, session_id TEXT NOT NULL, status TEXT NOT NULL, last_heartbeat TEXT NOT NULL, PRIMARY KEY(conversation_id, session_id))')
db.execute('CREATE TABLE audit_log(id INTEGER PRIMARY KEY AUTOINCREMENT, conversation_id TEXT, session_id TEXT, action TEXT NOT NULL, details TEXT, timestamp TEXT NOT NULL)')
for each, end in (('conv_live', '2099'), ('conv_over', '2020')):
  db.execute("INSERT INTO conversations VALUES (?, 'o', 'w', '', '', '2020-01-01T00:00:00.000000', ? || '-01-01T00:00:00.000000')", (each, end))
  for read in (1, 0):
    db.execute("INSERT INTO messages (conversation_id, from_session, to_session, message, metadata, timestamp, read) VALUES (?, 'b', 'a', 'hello', '{}', '2026-01-01T00:00:00.000000', ?)", (each, read))
db.commit(); db.close()`
    execFileSync('python3', ['-c', script, join(path, 'not/yet/bridge.db')])
    await watcher.woken(1)
    assert.deepEqual(told(path), [2], 'neither what was read nor what nobody can read any more')
    assert.equal((await watcher.ask('/readyz')).status, 200)
    assert.match((await watcher.ask('/metrics')).text, /s2_watcher_wakes_total 1\n/)
    const events = watcher.events.filter(({ level }) => level === 'warn' || level === 'error')
    assert.ok(events.length < 4, JSON.stringify(events))
  })

  test('killed while a wake runs: the next life ends it, repeats nothing, and tells of all that is unread', async () => {
    await using stage = new Stage()
    const path = stage.state('killed')
    const inbox = new Inbox(path)
    const wake = `cat >> ${path}/calls; test -e ${path}/pid || { sleep 600 & echo $! > ${path}/part; mv ${path}/part ${path}/pid; wait; }`
    const first = stage.watch(path, { S2_WAKE: wake })
    await first.says('ready')
    await put(inbox, 1)
    while (!existsSync(join(path, 'pid'))) await parts.clock.sleep(20)
    await first.end('SIGKILL')
    const sleeper = Number(readFileSync(join(path, 'pid'), 'utf8'))
    assert.ok(!isOver(sleeper), 'it outlives its watcher')
    await put(inbox, 2)
    const second = stage.watch(path, { S2_WAKE: wake })
    await second.woken(1)
    assert.ok(isOver(sleeper))
    assert.ok(second.events.some(({ event }) => String(event).includes('leftover wakes')))
    assert.deepEqual(told(path), [1, 2])
    assert.deepEqual(
      calls(path)[1]?.earlier.map(({ id }) => id),
      [1],
    )
    assert.equal(calls(path)[1]?.unread, 2)
  })

  test('killed between the note and the wake: nobody is woken twice', async () => {
    await using stage = new Stage()
    const path = stage.state('noted')
    const inbox = new Inbox(path)
    await put(inbox, 1)
    const first = stage.watch(path)
    await first.woken(1)
    await first.end()
    // what a kill right after the note leaves: the note, and no call
    rmSync(join(path, 'calls'))
    const second = stage.watch(path)
    await second.says('ready')
    await put(inbox, 2)
    await second.woken(1)
    assert.deepEqual(told(path), [2])
  })

  test('a wake that runs when the watcher is stopped is ended with its children', async () => {
    await using stage = new Stage()
    const path = stage.state('stopped')
    const watcher = stage.watch(path, {
      S2_WAKE: `sleep 600 & echo $! > ${path}/part; mv ${path}/part ${path}/pid; wait`,
    })
    await watcher.says('ready')
    await put(new Inbox(path), 1)
    while (!existsSync(join(path, 'pid'))) await parts.clock.sleep(20)
    await watcher.end()
    assert.ok(isOver(Number(readFileSync(join(path, 'pid'), 'utf8'))))
    assert.equal(watcher.child.exitCode, 0)
  })

  test('a command that is missing is told once; when it is there, it is run for what waits', async () => {
    await using stage = new Stage()
    const path = stage.state('missing')
    const inbox = new Inbox(path)
    const program = join(path, 'wake-me')
    const watcher = stage.watch(path, { S2_WAKE: JSON.stringify([program]) })
    await watcher.says('ready')
    await put(inbox, 1)
    await watcher.says('wake failed, mail stays unread')
    const ready = await watcher.ask('/readyz')
    assert.equal(ready.status, 503)
    assert.match(
      ready.text,
      /wake command cannot be started: the program \S+wake-me is not installed \(there is no such file\); see S2_WAKE/,
    )
    writeFileSync(`${program}.part`, `#!/bin/sh\ncat >> ${path}/calls\n`, { mode: 0o755 })
    renameSync(`${program}.part`, program)
    await watcher.woken(1)
    assert.deepEqual(told(path), [1])
    assert.equal(watcher.events.filter(({ level }) => level === 'error').length, 1)
    assert.equal((await watcher.ask('/readyz')).status, 200)
  })

  test('the command has no settings of ours but where to ask for mail, and its output is kept out of the log', async () => {
    await using stage = new Stage()
    const path = stage.state('environment')
    const wake = `env > ${path}/env; yes 'a line of output' | head -c 3000000; echo oh no >&2; exit 3`
    const watcher = stage.watch(path, {
      S2_WAKE: wake,
      S2_ALERT_WEBHOOK: 'https://hush.example.org/x',
      NOTIFY_SOCKET: '',
    })
    await watcher.says('ready')
    await put(new Inbox(path), 1)
    await watcher.says('wake failed, mail stays unread')
    const names = readFileSync(join(path, 'env'), 'utf8')
      .split('\n')
      .map((line) => line.split('=')[0])
    assert.deepEqual(
      names.filter((name) => /^(S2_|NOTIFY)/.test(name ?? '')),
      ['S2_STATE'],
    )
    const said = JSON.stringify(watcher.eventsOf('wake failed, mail stays unread')[0])
    assert.match(said, /exit code 3/)
    assert.match(said, /oh no/)
    assert.doesNotMatch(JSON.stringify(watcher.events), /a line of output/)
  })
})

test('without any means to hear, polls find what comes', async () => {
  await using stage = new Stage()
  const state = stage.state('deaf')
  const inbox = new Inbox(state)
  const abort = new AbortController()
  let heard = Promise.withResolvers<string>()
  const post = new InboxSource({
    ...parts,
    log: recordingLog(),
    means: 'none',
    signal: abort.signal,
    inbox,
    state,
    pollMs: 20,
    onHint: (target) => heard.resolve(target),
    onLook: () => undefined,
    onTrouble: assert.fail,
  })
  const watching = post.watch()
  assert.deepEqual(
    watchesInForce().map(({ means }) => means),
    ['none'],
  )
  for (const [id, to] of [
    [1, 'conv_00000000000000aa/b'],
    [2, 'conv_00000000000000bb/b'],
  ] as const satisfies [number, SessionId][]) {
    await put(inbox, id, to)
    assert.equal(await heard.promise, to)
    heard = Promise.withResolvers()
    assert.deepEqual(
      (await post.unread(to)).map((mail) => mail.id),
      [id],
    )
  }
  abort.abort()
  await watching
})

test('an idle watcher notices within a second what others do to the files of its database', async (context) => {
  await using stage = new Stage()
  for (const [name, deed] of Object.entries(DEEDS)) {
    const state = stage.state(name.replaceAll(' ', '-'))
    const path = join(state, 'bridge.db')
    await using store = await openSqliteStore(path, parts)
    const { id } = await store.openConversation(CHANNEL)
    await store.send(`${id}/b`, 'key', { text: 'before' })
    const watcher = stage.watch(state, { S2_SOURCE: 'database' })
    await watcher.woken(1)
    await store[Symbol.asyncDispose]()
    const began = performance.now()
    deed(path)
    if (name === 'removed' || name === 'replaced') {
      await watcher.until(() =>
        watcher.said.includes(name === 'removed' ? 'there is no database' : 'belongs to the one before'),
      )
    } else {
      await watcher.says('database files changed by others')
      assert.equal((await watcher.ended).code, 1, name)
      assert.equal(leftBeside(path).copies, name === 'written over' ? 1 : 0)
    }
    context.diagnostic(`${name}: ${Math.round(performance.now() - began)} ms`)
  }
})
