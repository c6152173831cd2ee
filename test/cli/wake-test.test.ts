import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import type { ClientSession } from '#agents/client-session.ts'
import { publishClientSession } from '#agents/client-sessions-folder.ts'
import { trialName, trialsFile, WakeMemory } from '#agents/wake/wake-memory.ts'
import { wakesIn } from '#fleet/wake-text.ts'
import { firstRung } from '../../services/fs-watcher/wake-by-ladder.ts'
import { sampleSession } from '../core/agents/sample-session.ts'
import { standInClient } from '../core/agents/stand-in-client.ts'
import { run } from './run-command.ts'

const base = mkdtempSync(join(tmpdir(), 's2-wake-test-'))
after(() => rmSync(base, { recursive: true, force: true }))

/** A session of Claude Code whose socket works, and which says that it read what came by it. */
async function scene(name: string, t: TestContext, fields: Partial<ClientSession> = {}) {
  const state = join(base, name)
  mkdirSync(state, { mode: 0o700 })
  const texts: string[] = []
  const own = standInClient(t)
  const inboxSocket = join(state, `${own.pid}.sock`)
  const session = sampleSession({ process: own, inboxSocket, heardAt: Date.now(), ...fields })
  const server = createServer((socket) => {
    socket.on('data', (chunk) => {
      texts.push(String(chunk))
      void publishClientSession(state, { ...session, wakesRead: wakesIn(String(chunk)) })
    })
    socket.on('end', () => socket.end())
  })
  server.listen(inboxSocket)
  await once(server, 'listening')
  t.after(() => server.close())
  await publishClientSession(state, session)
  return { env: { S2_STATE: state }, texts }
}

test('each way is tried once a person has said so, and says what was proven or why it cannot be', async (t) => {
  const { env, texts } = await scene('asked', t)
  const questions: string[] = []
  const ask = async (question: string): Promise<string> => {
    questions.push(question)
    return 'y'
  }
  const { code, out } = await run(['wake-test'], { env, ask })
  assert.equal(code, 0, out)
  assert.equal(questions.length, 1)
  assert.match(questions[0] ?? '', /^Send a text \(inbox_socket\) to claude 853e3a81-.* It costs a turn\. \[y\/N\] $/)
  assert.equal(texts.length, 1)
  assert.match(texts[0] ?? '', /S2 wake [0-9a-f]{12}: a person tries/)
  assert.match(out, /claude 2\.1\.332 +853e3a81 +inbox_socket +read +\d\.\d\d/)
  assert.match(out, /tmux +not possible +- +the session runs in no pane/)
})

test('the first way that was read is kept for the watcher, by the client and its version', async (t) => {
  const { env } = await scene('kept', t)
  const { code, out } = await run(['wake-test', '--yes', '--json'], { env })
  assert.equal(code, 0, out)
  const trials = await WakeMemory.open(trialsFile(env.S2_STATE))
  const session = sampleSession()
  assert.equal(trials.worked(trialName(session), session)?.rung, 'inbox_socket')
  assert.equal(trials.worked(trialName(session), { ...session, version: '9.9.9' }), null)
  const none = { worked: () => null }
  assert.equal(firstRung('w-1', session, none, trials), 'inbox_socket')
  const later = { worked: () => ({ rung: 'tmux', readMs: 1, at: Date.now() + 60_000 }) as const }
  assert.equal(firstRung('w-1', session, later, trials), 'tmux', 'what was read later counts')
})

test('without a yes nothing is sent', async (t) => {
  const { env, texts } = await scene('refused', t)
  for (const world of [
    { ask: async () => '' },
    { ask: async () => null },
    { isAttended: false, ask: async () => 'y' },
  ]) {
    const { code, out } = await run(['wake-test'], { env, ...world })
    assert.equal(code, 1)
    assert.match(out, /inbox_socket +not possible +- +nobody said/)
  }
  assert.deepEqual(texts, [])
})

test('Ctrl-C at a question ends the questions', async (t) => {
  const { env, texts } = await scene('ended', t)
  const asked: string[] = []
  const ask = async (question: string): Promise<null> => {
    asked.push(question)
    return null
  }
  const { code, out } = await run(['wake-test'], { env: { ...env, S2_WAKE: 'true' }, ask })
  assert.deepEqual([code, asked.length, texts], [1, 1, []])
  assert.match(out, /exec +not possible +- +nobody said/)
})

test('people are reached by what is set, once it is named or said, and else the row says why not', async (t) => {
  const { env } = await scene('people', t)
  const calls = join(env.S2_STATE, 'calls')
  const world = {
    env: {
      ...env,
      S2_WAKE: `cat > ${calls}; echo "$S2_BRIDGE_URL" >> ${calls}`,
      S2_BRIDGE_URL: 'https://bridge.example',
    },
  }
  const unnamed = await run(['wake-test', '--yes', '--json'], world)
  assert.equal(unnamed.code, 0)
  const rows = JSON.parse(unnamed.out) as { rung: string; session: string | null; outcome: string; why: string }[]
  const people = rows.filter(({ session }) => session === null)
  assert.deepEqual(
    people.map(({ rung, outcome }) => [rung, outcome]),
    [
      ['exec', 'no'],
      ['webhook', 'no'],
      ['desktop', 'no'],
    ],
  )
  assert.match(people[0]?.why ?? '', /nobody said/)
  assert.match(people[1]?.why ?? '', /no address is set/)
  assert.equal(existsSync(calls), false)
  const named = await run(['wake-test', '--yes', '--only', 'exec'], world)
  assert.equal(named.code, 0, named.err)
  assert.match(named.out, /people +- +exec +sent, not read/)
  const [call = '', setting] = readFileSync(calls, 'utf8').split('\n')
  assert.match((JSON.parse(call) as { trial: string }).trial, /^S2 wake [0-9a-f]{12}: a person tries/)
  assert.equal(setting, '', 'our other settings are not handed on')
  const failing = await run(['wake-test', '--yes', '--only', 'exec'], { env: { ...env, S2_WAKE: 'exit 3' } })
  assert.equal(failing.code, 1)
  assert.match(failing.out, /exec +not possible +- +the command failed: .*3/)
})

test('nothing is sent to a client at a dialog', async (t) => {
  const { env, texts } = await scene('dialog', t, { activity: { state: 'waiting', what: 'may it run?', until: null } })
  const { code, out } = await run(['wake-test', '--yes', '--only', 'inbox_socket', '--json'], { env })
  assert.equal(code, 1)
  const [row] = JSON.parse(out) as { outcome: string; why: string }[]
  assert.deepEqual({ outcome: row?.outcome, why: row?.why }, { outcome: 'no', why: 'the client waits: may it run?' })
  assert.deepEqual(texts, [])
})

test('a host without clients, and a way that there is not, are told', async () => {
  const none = await run(['wake-test'], { env: { S2_STATE: join(base, 'none') } })
  assert.equal(none.code, 1)
  assert.match(none.err, /no session of a client is known/)
  const wrong = await run(['wake-test', '--only', 'telepathy'], { env: { S2_STATE: base } })
  assert.equal(wrong.code, 64)
  assert.match(wrong.err, /no way to wake is called telepathy/)
})
