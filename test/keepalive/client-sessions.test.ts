import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ClaudeStatus, withClaudeStatus } from '#agents/claude-status.ts'
import type { ClientSession } from '#agents/client-session.ts'
import type { HookReport } from '#agents/hook-report.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { type ClientFolders, ClientSessions } from '../../services/keepalive/client-sessions.ts'
import { report } from '../core/agents/reports.ts'
import { ManualClock } from '../manual-clock.ts'

const WORKER: SessionId = 'conv_0123456789abcdef/b'
const PROCESS = { pid: 77, startTicks: '123', namespace: 'pid:[1]' }

/** The folders, and the programs that others run, as a test changes them. */
class World implements AsyncDisposable {
  readonly clock = new ManualClock()
  readonly waiting: HookReport[] = []
  readonly published = new Map<string, ClientSession>()
  readonly removed: string[] = []
  publications = 0
  isRunning = true
  /** What Claude Code's own file says. */
  said: ClaudeStatus | null = null
  readonly heardOfTools: string[] = []
  /** The sessions whose tools work. */
  working: string[] = []
  readonly #ending = new AbortController()
  readonly sessions: ClientSessions

  constructor(earlier: readonly ClientSession[] = [], sessionsHere: readonly SessionId[] = [WORKER]) {
    const folders: ClientFolders = {
      version: () => String(this.waiting.length),
      take: async (max) => this.waiting.splice(0, max),
      read: async () => earlier,
      publish: async (session) => {
        this.publications += 1
        this.published.set(session.id, session)
      },
      remove: async ({ id }) => {
        this.published.delete(id)
        this.removed.push(id)
      },
      tidy: async () => undefined,
    }
    this.sessions = new ClientSessions({
      folders,
      clock: this.clock,
      chance: () => 0.5,
      signal: this.#ending.signal,
      troubles: { met: (...told: unknown[]) => assert.fail(String(told)), over: () => undefined } as never,
      pollMs: 250,
      zone: 'UTC',
      namespace: 'pid:[1]',
      isRunning: () => this.isRunning,
      withEvidence: (session) => withClaudeStatus(session, this.said),
      tools: {
        hear: (session, kind) => void this.heardOfTools.push(`${session} ${kind}`),
        look: async () => this.working,
      },
      sessionsHere: () => sessionsHere,
    })
  }

  async hear(name: string, fields: Readonly<Record<string, unknown>> = {}, facts: HookReport['facts'] = null) {
    this.waiting.push({ ...report({ hook_event_name: name, ...fields }, this.clock.wall()), facts })
    await this.clock.advance(300)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort()
    await this.clock.advance(1)
    await this.sessions.done
  }
}

const FACTS = { process: PROCESS, sharesProcess: false, pane: null, inboxSocket: null, version: null, session: null }

test('a clock that is set back makes nobody deaf for what a client says afterwards', async () => {
  await using world = new World()
  await world.hear('UserPromptSubmit', { prompt: 'go' }, FACTS)
  world.clock.step(-2 * 3_600_000)
  await world.clock.advance(2_000)
  const { since = Infinity, heardAt = Infinity } = world.published.get('one') ?? {}
  assert.ok(Math.max(since, heardAt) <= world.clock.wall(), 'nothing was heard in the future')
  const told = { waitingFor: 'held message', version: null, inboxSocket: null }
  world.said = { status: 'waiting', at: world.clock.wall() + 1, ...told }
  await world.clock.advance(2_000)
  assert.deepEqual(world.sessions.activityOf(WORKER)?.state, 'waiting')
})

test('what a client does is published, stands in beats, and its signs are handed on once', async () => {
  await using world = new World()
  await world.hear('SessionStart', {}, FACTS)
  await world.hear('UserPromptSubmit', { prompt: 'go' })
  const session = world.published.get('one')
  assert.deepEqual(
    [session?.activity.state, session?.session, session?.process],
    ['working', WORKER, { pid: 77, startTicks: '123' }],
  )
  assert.equal(world.sessions.activityOf(WORKER)?.state, 'working')
  assert.equal(world.sessions.activityOf('conv_ffffffffffffffff/b'), undefined)
  await world.hear('Stop')
  assert.deepEqual([world.sessions.takeSigns(WORKER), world.sessions.takeSigns(WORKER)], [2, 0])
})

test('made-up sessions of the fleet leave nothing behind', async () => {
  await using world = new World()
  for (let index = 0; index < 1_000; index += 1) {
    const session: SessionId = `conv_${index.toString(16).padStart(16, '0')}/b`
    const event = { hook_event_name: 'PreToolUse', tool_name: 'Bash', session_id: `made-up-${index}` }
    for (const each of [1, 2]) world.waiting.push({ ...report(event, each), facts: { ...FACTS, session } })
  }
  await world.clock.advance(3_000)
  assert.equal(world.waiting.length, 0)
  assert.ok(world.sessions.size <= 300)
  assert.equal(world.sessions.takeSigns('conv_0000000000000007/b'), 0)
})

test('what the fleet is to hear of at once is told, and turns that begin and end are not', async () => {
  await using world = new World()
  let urgent = 0
  world.sessions.onUrgent(() => {
    urgent += 1
  })
  const after = async (name: string, fields: Readonly<Record<string, unknown>> = {}) => {
    urgent = 0
    await world.hear(name, fields, FACTS)
    await world.clock.advance(2_000)
    return urgent
  }
  assert.equal(await after('SessionStart'), 0)
  assert.equal(await after('UserPromptSubmit', { prompt: 'go' }), 0)
  assert.equal(await after('PermissionRequest', { tool_name: 'Bash', tool_input: { command: 'npm test' } }), 1)
  assert.equal(await after('PostToolUse', { tool_name: 'Bash' }), 1, 'that it is over is as urgent')
  assert.equal(await after('Stop'), 0)
  assert.equal(await after('SessionEnd', { reason: 'other' }), 1)
  assert.equal(await after('SessionStart'), 1)
  urgent = 0
  world.isRunning = false
  await world.clock.advance(1_100)
  assert.equal(urgent, 1)
})

test('a session that its person has ended is gone for the fleet after some seconds only, as it may be resumed', async () => {
  await using world = new World()
  let urgent = 0
  world.sessions.onUrgent(() => {
    urgent += 1
  })
  const state = () => world.sessions.activityOf(WORKER)?.state
  await world.hear('UserPromptSubmit', { prompt: 'go' }, FACTS)
  await world.hear('SessionEnd', { reason: 'prompt_input_exit' })
  world.isRunning = false
  await world.clock.advance(15_000)
  assert.equal(world.published.get('one')?.activity.state, 'gone', 'on this host it is known')
  assert.equal(state(), 'idle')
  urgent = 0
  await world.clock.advance(6_000)
  assert.deepEqual([state(), urgent], ['gone', 1])
})

test('a session that goes on within those seconds was never gone, and its end counts anew', async () => {
  await using world = new World()
  const state = () => world.sessions.activityOf(WORKER)?.state
  await world.hear('SessionStart', {}, FACTS)
  await world.hear('SessionEnd', { reason: 'resume' })
  await world.clock.advance(15_000)
  await world.hear('SessionStart', { source: 'resume' }, FACTS)
  await world.clock.advance(10_000)
  assert.equal(state(), 'idle')
  world.isRunning = false
  await world.clock.advance(1_100)
  assert.equal(state(), 'gone', 'a death is told at once')
})

test('one session that ends as another begins, in one process, is no end', async () => {
  await using world = new World()
  const seen = new Set<string | undefined>()
  const pass = async (): Promise<void> => {
    for (let second = 0; second < 15; second += 1) {
      await world.clock.advance(1_000)
      seen.add(world.sessions.activityOf(WORKER)?.state)
    }
  }
  await world.hear('SessionStart', {}, FACTS)
  await world.hear('SessionEnd', { reason: 'clear' })
  await pass()
  await world.hear('SessionStart', { session_id: 'two', source: 'clear' }, FACTS)
  await pass()
  assert.deepEqual([...seen], ['idle'])
})

test('a session whose process ended is gone at once, and taken away after an hour', async () => {
  await using world = new World()
  await world.hear('UserPromptSubmit', {}, FACTS)
  world.isRunning = false
  await world.clock.advance(1_100)
  assert.equal(world.published.get('one')?.activity.state, 'gone')
  const { publications } = world
  await world.clock.advance(60_000)
  assert.equal(world.publications, publications)
  await world.clock.advance(3_600_000)
  assert.deepEqual(world.removed, ['one'])
})

test('a process of another namespace is none that can be looked at', async () => {
  await using world = new World()
  world.isRunning = false
  await world.hear('UserPromptSubmit', {}, { ...FACTS, process: { ...PROCESS, namespace: 'pid:[2]' } })
  await world.clock.advance(10_000)
  assert.deepEqual([world.published.get('one')?.process, world.published.get('one')?.activity.state], [null, 'working'])
  await world.clock.advance(86_400_000 + 10_000)
  assert.equal(world.published.get('one')?.activity.state, 'gone')
})

test('an earlier run’s sessions go on, and end where their processes did', async () => {
  await using before = new World()
  await before.hear('UserPromptSubmit', {}, FACTS)
  const session = before.published.get('one') as ClientSession
  await using world = new World([session])
  await world.hear('Stop')
  assert.equal(world.published.get('one')?.signs, 2)
  assert.equal(world.sessions.takeSigns(WORKER), 1)
})

test('ten thousand reports at once are taken, and published by the session', async () => {
  await using world = new World()
  const at = world.clock.wall()
  for (let index = 0; index < 10_000; index += 1)
    world.waiting.push(report({ hook_event_name: 'PostToolUse', session_id: `s${index % 5}` }, at))
  await world.clock.advance(20_000)
  assert.equal(world.waiting.length, 0)
  assert.equal(
    [...world.published.values()].reduce((sum, { signs }) => sum + signs, 0),
    10_000,
  )
  assert.ok(world.publications <= 150, String(world.publications))
})

test('sessions that somebody makes up without end push out none that runs', async () => {
  await using world = new World()
  await world.hear('UserPromptSubmit', {}, FACTS)
  for (let index = 0; index < 2_000; index += 1)
    world.waiting.push(report({ hook_event_name: 'Stop', session_id: `made-up-${index}` }, world.clock.wall()))
  await world.clock.advance(20_000)
  assert.ok(world.sessions.size <= 300)
  assert.equal(world.published.get('one')?.activity.state, 'working')
  assert.equal(world.published.size, world.sessions.size)
})

test('a report of the future is one of now', async () => {
  await using world = new World()
  world.waiting.push(report({ hook_event_name: 'UserPromptSubmit' }, world.clock.wall() + 1e12))
  await world.clock.advance(300)
  assert.ok((world.published.get('one')?.heardAt ?? Infinity) <= world.clock.wall())
})

test('a host of several sessions gives a client to the one that its environment names', async () => {
  const other: SessionId = 'conv_ffffffffffffffff/b'
  await using world = new World([], [WORKER, other])
  await world.hear('UserPromptSubmit')
  assert.equal(world.published.get('one')?.session, null)
  await world.hear('Stop', {}, { ...FACTS, session: other })
  assert.equal(world.published.get('one')?.session, other)
  assert.equal(world.sessions.activityOf(other)?.state, 'idle')
})

test('a tool that works for an hour is a sign every 15 seconds, and keeps its turn heard of', async () => {
  await using world = new World()
  await world.hear('UserPromptSubmit', {}, FACTS)
  await world.hear('PreToolUse', { tool_name: 'Bash' })
  world.sessions.takeSigns(WORKER)
  world.working = ['claude-one']
  await world.clock.advance(60_000)
  const { signs = 0, heardAt = 0 } = world.published.get('one') ?? {}
  assert.ok(signs >= 5 && signs <= 7, String(signs))
  assert.ok(world.clock.wall() - heardAt <= 16_000)
  assert.ok(world.sessions.takeSigns(WORKER) >= 3)
  await world.hear('PostToolUse', { tool_name: 'Bash' })
  await world.hear('Stop')
  assert.deepEqual(world.heardOfTools, [
    'claude-one prompt',
    'claude-one tool_begun',
    'claude-one tool_ended',
    'claude-one turn_ended',
  ])
  const before = world.published.get('one')?.signs
  await world.clock.advance(60_000)
  assert.equal(world.published.get('one')?.signs, before, 'its turn has ended')
})

test('a subagent that ends ends no tool of its session, and a tool goes on across a restart', async () => {
  await using world = new World()
  await world.hear('UserPromptSubmit', {}, FACTS)
  await world.hear('PreToolUse', { agent_id: 'sub' })
  await world.hear('SubagentStop', { agent_id: 'sub' })
  assert.deepEqual(world.heardOfTools, ['claude-one prompt', 'claude-one tool_begun'])
  await using later = new World([world.published.get('one') as ClientSession])
  await later.clock.advance(1_000)
  assert.deepEqual(later.heardOfTools, ['claude-one tool_begun'])
})

test('the version of a client is that of its last start or prompt that told one', async () => {
  await using world = new World()
  const versions: unknown[] = []
  for (const version of ['0.171.0', '0.172.0', null]) {
    await world.hear('UserPromptSubmit', {}, { ...FACTS, version })
    versions.push(world.published.get('one')?.version)
  }
  assert.deepEqual(versions, ['0.171.0', '0.172.0', '0.172.0'])
})

test('a session in a daemon has no pane, whatever was said of one, and keeps that through reports over HTTP', async () => {
  await using world = new World()
  const pane = { socket: '/tmp/tmux-1/default', id: '%1' }
  await world.hear('SessionStart', {}, { ...FACTS, pane })
  assert.deepEqual([world.published.get('one')?.pane, world.published.get('one')?.sharesProcess], [pane, false])
  await world.hear('UserPromptSubmit', {}, { ...FACTS, sharesProcess: true, pane })
  await world.hear('Stop')
  assert.deepEqual([world.published.get('one')?.pane, world.published.get('one')?.sharesProcess], [null, true])
})
