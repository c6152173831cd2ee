import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { ClientSession } from '#agents/client-session.ts'
import { publishClientSession } from '#agents/client-sessions-folder.ts'
import { wakesIn } from '#fleet/wake-text.ts'
import { Inbox } from '#spool/inbox.ts'
import { sampleSession } from '../core/agents/sample-session.ts'
import { standInClient } from '../core/agents/stand-in-client.ts'
import { mainOf, Program } from '../program.ts'
import { until } from '../until.ts'
import { put, Stage } from './stage.ts'

/** A watcher without a command, and a client of Claude Code whose socket the test reads. */
async function scene(stage: Stage, name: string, t: TestContext, settings: Record<string, string> = {}) {
  const state = stage.state(name)
  const texts: string[] = []
  let heard = Promise.withResolvers<void>()
  const server = createServer((socket) => {
    socket.on('data', (chunk) => {
      texts.push((JSON.parse(String(chunk)) as { message: { content: string } }).message.content)
      heard.resolve()
      heard = Promise.withResolvers()
    })
    socket.on('end', () => socket.end())
  })
  const client = standInClient(t)
  const path = join(state, `${client.pid}.sock`)
  server.listen(path)
  await once(server, 'listening')
  t.after(() => server.close())
  let session = sampleSession({ inboxSocket: path, process: client, heardAt: Date.now() })
  const say = async (fields: Partial<ClientSession>): Promise<void> => {
    session = { ...session, ...fields }
    await publishClientSession(state, session)
  }
  await say({})
  const watcher = new Program(mainOf('fs-watcher'), {
    S2_STATE: state,
    S2_SOURCE: 'inbox',
    S2_POLL: '50ms',
    ...settings,
  })
  t.after(() => watcher.end('SIGKILL'))
  await watcher.says('ready')
  const text = async (count: number): Promise<string> => {
    while (texts.length < count) await heard.promise
    return texts[count - 1] ?? ''
  }
  return { state, watcher, inbox: new Inbox(state), say, text, texts }
}

test('an idle client is woken by its socket, and the wake counts once it was read', async (t) => {
  await using stage = new Stage()
  const { state, watcher, inbox, say, text, texts } = await scene(stage, 'idle', t)
  await put(inbox, 1)
  await put(inbox, 2)
  const first = await text(1)
  assert.match(first, /^S2 wake [0-9a-f]{12}: \d unread messages? from orchestrator\. /)
  assert.ok(!first.includes('text 1'), 'no message is in it')
  assert.equal(watcher.eventsOf('agent woken').length, 0)
  await say({ wakesRead: wakesIn(first) })
  await watcher.says('agent woken')
  const [read] = watcher.eventsOf('wake read')
  assert.equal(read?.rung, 'inbox_socket')
  await watcher.end()
  const memory = JSON.parse(readFileSync(join(state, 'watcher', 'inbox-wakes.json'), 'utf8')) as {
    worked: Record<string, { rung: string }>
  }
  const [[name, worked] = []] = Object.entries(memory.worked)
  assert.match(name ?? '', / claude 2\.1\.332$/)
  assert.equal(worked?.rung, 'inbox_socket')
  assert.ok(texts.length <= 2, 'once for each message at most')
})

test('a client at work or at a dialog is woken at its next idling, and not for what it read meanwhile', async (t) => {
  await using stage = new Stage()
  const { watcher, inbox, say, text, texts } = await scene(stage, 'working', t)
  await say({ activity: { state: 'working', what: null, until: null }, heardAt: Date.now() })
  await put(inbox, 1)
  await watcher.says('wake waits for the client')
  await say({ activity: { state: 'waiting', what: 'permission prompt', until: null } })
  await watcher.until(() => watcher.eventsOf('wake waits for the client').some(({ state }) => state === 'waiting'))
  await inbox.take(10)
  await put(inbox, 2)
  assert.deepEqual(texts, [])
  await say({ activity: { state: 'idle', what: null, until: null } })
  assert.match(await text(1), /: 1 unread message from/)
})

test('a wake that a kill interrupted comes again, since nothing says that it was read', async (t) => {
  await using stage = new Stage()
  const { state, watcher, inbox, text } = await scene(stage, 'killed', t)
  await put(inbox, 1)
  await text(1)
  await watcher.end('SIGKILL')
  const again = new Program(mainOf('fs-watcher'), { S2_STATE: state, S2_SOURCE: 'inbox', S2_POLL: '50ms' })
  t.after(() => again.end('SIGKILL'))
  assert.match(await text(2), /^S2 wake /)
})

test('the command of S2_WAKE is a rung where it is named', async (t) => {
  await using stage = new Stage()
  const calls = join(stage.folder, 'calls')
  const { watcher, inbox, texts } = await scene(stage, 'exec', t, { S2_WAKE: `cat >> ${calls}`, S2_WAKE_BY: 'exec' })
  await put(inbox, 1)
  await until('the command ran', () => readFileSync(calls, 'utf8').includes('"count":1'))
  await inbox.take(10)
  await watcher.says('agent woken')
  assert.deepEqual(texts, [])
})

test('without a command and without clients a watcher says what it wants', async () => {
  await using stage = new Stage()
  const state = stage.state('none')
  mkdirSync(join(state, 'inbox'))
  const watcher = new Program(mainOf('fs-watcher'), { S2_STATE: state })
  assert.equal((await watcher.ended).code, 78)
  assert.match(watcher.said, /S2_WAKE is missing.*s2 hooks install/)
})
