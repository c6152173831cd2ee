/** What the real clients do is told apart from the daemon beside them. One fleet; each test has a worker's place of its own. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { until } from '../until.ts'
import { ASKING_SERVER } from './asking-server.ts'
import { type ClaudeHome, prompt } from './claude.ts'
import { ClientFleet } from './fleet.ts'
import { inOrder, MadeUpModel, type Script } from './model.ts'
import { type Answer, call, refuse, say, silence } from './model-api.ts'
import { placedClaude, placedCodex } from './place.ts'
import { runInShell } from './responses-api.ts'

const PLACES = 15
/** A tool that computes for longer than its processes are looked at twice. */
const COMPUTE = 'timeout 50 sh -c "while :; do :; done"'
/** Codex asks its person where the model says that a command wants more than its sandbox allows. */
const ESCALATED = { sandbox_permissions: 'require_escalated', justification: 'may it make the file?' }
const HOUR_MS = 3_600_000

describe('what a client does', { concurrency: 2 }, () => {
  let fleet: ClientFleet
  let model: MadeUpModel
  let places = 0

  before(async () => {
    fleet = await ClientFleet.raise(Array.from({ length: PLACES }, () => ({})))
    model = await MadeUpModel.start()
  })
  after(async () => {
    await model[Symbol.asyncDispose]()
    await fleet[Symbol.asyncDispose]()
  })

  /** Claude Code in a place that nobody has yet, whose model follows a script. */
  async function claude(
    script: Script,
    settings = {},
    allow?: readonly string[],
  ): Promise<{ worker: number; home: ClaudeHome }> {
    places += 1
    const worker = places
    const home = await placedClaude(fleet, worker, model, settings, allow)
    model.scripts.set(home.sentKey, script)
    return { worker, home }
  }

  test('Claude Code is idle, works while the model thinks, and is idle again', async () => {
    const thought = Promise.withResolvers<Answer>()
    const { worker, home } = await claude(() => thought.promise)
    await using _ = home
    const terminal = await home.sit()
    await fleet.activity(worker, 'idle')
    await terminal.type('think about it')
    await fleet.activity(worker, 'working')
    thought.resolve(say('thought'))
    await fleet.activity(worker, 'idle')
  })

  test('a permission prompt of Claude Code is told at once with what it asks, and ends with its answer', async () => {
    const { worker, home } = await claude(
      inOrder(call('Bash', { command: 'touch asked', description: 'makes a file' }), say('made')),
    )
    await using _ = home
    const terminal = await home.sit()
    await terminal.type('make the file')
    await terminal.shows(/Do you want to proceed/)
    const began = performance.now()
    const told = await fleet.verdict(worker, 'waiting', ({ verdict }) => verdict === 'waiting', 10_000)
    assert.match(told.activity?.what ?? '', /permission prompt: Bash: touch asked/)
    assert.ok(performance.now() - began < 5_000)
    await terminal.press('Enter')
    await terminal.shows(/● made/)
    await fleet.activity(worker, 'idle')
    await fleet.verdict(worker, 'alive', ({ verdict }) => verdict === 'alive')
  })

  test('a question of Claude Code is told with its words', async () => {
    const question = {
      question: 'Which of the two?',
      header: 'Two',
      multiSelect: false,
      options: ['one', 'other'].map((label) => ({ label, description: label })),
    }
    const { worker, home } = await claude(inOrder(call('AskUserQuestion', { questions: [question] })))
    await using _ = home
    const terminal = await home.sit()
    await terminal.type('ask me')
    await terminal.shows(/Which of the two/)
    assert.match((await fleet.activity(worker, 'waiting')).what ?? '', /question: Which of the two\?/)
  })

  test('a question of an MCP server is told with its words, and ends with its answer', async () => {
    const { worker, home } = await claude(inOrder(call('mcp__asking__ask'), say('asked')), {}, ['mcp__asking'])
    await using _ = home
    const server = { type: 'stdio', command: process.execPath, args: [ASKING_SERVER] }
    const terminal = await home.sit(['--mcp-config', JSON.stringify({ mcpServers: { asking: server } })])
    await terminal.type('ask me')
    await terminal.shows(/Which colour/)
    assert.equal((await fleet.activity(worker, 'waiting')).what, 'Which colour is it to be?')
    await terminal.press('Escape')
    await terminal.shows(/● asked/)
    await fleet.activity(worker, 'idle')
  })

  for (const [status, type, text, headers, state] of [
    [401, 'authentication_error', 'invalid x-api-key', {}, 'logged_out'],
    [529, 'overloaded_error', 'Overloaded', {}, 'overloaded'],
  ] as const) {
    test(`Claude Code that is refused with ${status} is ${state}, and works again when it is let in`, async () => {
      const { worker, home } = await claude(() => refuse(status, type, text, headers))
      await using _ = home
      const terminal = await home.sit()
      await terminal.type('try it')
      await fleet.activity(worker, state)
      model.scripts.set(home.sentKey, () => say('let in'))
      await terminal.type('try again')
      await terminal.shows(/let in/)
      await fleet.activity(worker, 'idle')
    })
  }

  test('Claude Code at a limit of use is parked until the instant that it names', async () => {
    const { worker, home } = await claude(inOrder())
    await using _ = home
    home.subscribe()
    const resetsAt = Math.ceil(Date.now() / HOUR_MS) * HOUR_MS + HOUR_MS
    const headers = {
      'anthropic-ratelimit-unified-status': 'rejected',
      'anthropic-ratelimit-unified-reset': String(resetsAt / 1_000),
      'anthropic-ratelimit-unified-representative-claim': 'five_hour',
    }
    model.scripts.set(home.sentKey, () => refuse(429, 'rate_limit_error', 'This would exceed your limit', headers))
    const terminal = await home.sit()
    await terminal.type('try it')
    const { what, until } = await fleet.activity(worker, 'parked')
    assert.match(what ?? '', /hit your .*limit/)
    assert.equal(until, resetsAt)
    assert.equal((await fleet.verdict(worker, 'parked', ({ verdict }) => verdict === 'parked')).until, resetsAt)
  })

  test('Claude Code in bypass mode that holds a message of another session waits, and S2 says for what', async () => {
    const { worker, home } = await claude(inOrder(), { skipDangerousModePermissionPrompt: true })
    await using _ = home
    const terminal = await home.sit(['--dangerously-skip-permissions'])
    await fleet.activity(worker, 'idle')
    const socket = connect(home.sessions()[0]?.messagingSocketPath ?? '')
    socket.end(`${JSON.stringify(prompt('from elsewhere'))}\n`)
    await once(socket, 'close')
    await terminal.shows(/message from another session/i)
    // The client's own file calls it a permission prompt, until a hook says more.
    await fleet.verdict(worker, 'held', ({ activity }) => /held message/.test(activity?.what ?? ''))
  })

  test('Claude Code that is killed is gone, and its session file is no life', async () => {
    const { worker, home } = await claude(() => silence)
    await using _ = home
    const terminal = await home.sit()
    await terminal.type('begin')
    await fleet.activity(worker, 'working')
    const [session] = home.sessions()
    process.kill(session?.pid ?? 0, 'SIGKILL')
    await fleet.activity(worker, 'gone')
  })

  test('Claude Code that ends by itself is gone, and is back when it is resumed with the same session', async () => {
    const { worker, home } = await claude(inOrder())
    await using _ = home
    const first = home.start(['-p', '--', 'the first'])
    assert.equal(await first.finish(), 0)
    await fleet.activity(worker, 'gone')
    const [before] = fleet.clientSessions(worker)
    const run = home.stream(['--resume', before?.id ?? ''])
    run.tell(prompt('the second'))
    await run.hears('the end of the turn', ({ type }) => type === 'result')
    await fleet.activity(worker, 'idle')
    assert.deepEqual(
      fleet.clientSessions(worker).map(({ id }) => id),
      [before?.id],
    )
  })

  test('two sessions of Claude Code in one folder are two', async () => {
    const { worker, home } = await claude(inOrder())
    await using _ = home
    const runs = [home.stream(), home.stream()]
    for (const run of runs) run.tell(prompt('one turn'))
    for (const run of runs) await run.hears('the end of the turn', ({ type }) => type === 'result')
    await until('both are told', () => fleet.clientSessions(worker).length === 2)
    const [one, other] = fleet.clientSessions(worker)
    assert.notEqual(one?.process?.pid, other?.process?.pid)
    process.kill(one?.process?.pid ?? 0, 'SIGKILL')
    await until(
      'one is gone',
      () => fleet.clientSessions(worker).filter(({ activity }) => activity.state === 'gone').length === 1,
    )
    // The other one still works for the fleet.
    await fleet.activity(worker, 'idle')
  })

  test('Claude Code that goes into another folder stays the same session', async () => {
    const { worker, home } = await claude(
      inOrder(call('Bash', { command: 'mkdir -p below && cd below && pwd', description: 'goes below' }), say('there')),
      {},
      ['Bash'],
    )
    await using _ = home
    const run = home.stream()
    run.tell(prompt('go below'))
    await run.hears('the end of the turn', ({ type }) => type === 'result')
    run.tell(prompt('and on'))
    await until('its folder is told', () => fleet.clientSessions(worker)[0]?.folder.endsWith('/below'), 20_000)
    assert.equal(fleet.clientSessions(worker).length, 1)
    assert.equal(fleet.clientSessions(worker)[0]?.process?.pid, home.sessions()[0]?.pid)
  })

  test('a tool of Claude Code that computes shows work before it ends', async () => {
    const { worker, home } = await claude(inOrder(call('Bash', { command: COMPUTE }), say('done')), {}, ['Bash'])
    await using _ = home
    const terminal = await home.sit()
    await terminal.type('compute')
    await fleet.activity(worker, 'working')
    // The prompt and the beginning of the tool are two signs at most: what is more comes of its processes.
    const before = fleet.clientSessions(worker)[0]?.signs ?? 0
    await until('its tool shows work', () => (fleet.clientSessions(worker)[0]?.signs ?? 0) >= before + 2, 48_000)
    assert.equal(fleet.clientSessions(worker)[0]?.activity.state, 'working')
  })

  test('Codex is idle, works, shows a dialog and is gone', async () => {
    places += 1
    const worker = places
    const home = await placedCodex(fleet, worker, model)
    await using _ = home
    const thought = Promise.withResolvers<Answer>()
    model.scripts.set(home.key, (question) => {
      if (question.newest.includes('function_call_output')) return say('that is all')
      return question.newest.includes('think') ? thought.promise : runInShell(question, 'touch asked', ESCALATED)
    })
    const terminal = await home.sit(['-c', 'approval_policy="on-request"', '-c', 'sandbox_mode="read-only"'])
    await terminal.type('think about it')
    await fleet.activity(worker, 'working')
    thought.resolve(say('thought'))
    await fleet.activity(worker, 'idle')
    await terminal.type('make the file')
    await terminal.shows(/Would you like to run/)
    assert.match((await fleet.activity(worker, 'waiting')).what ?? '', /touch asked/)
    await terminal.press('y')
    await fleet.activity(worker, 'idle')
    process.kill(fleet.clientSessions(worker)[0]?.process?.pid ?? 0, 'SIGKILL')
    await fleet.activity(worker, 'gone')
  })
})
