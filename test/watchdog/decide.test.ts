/** The decision changes nothing of what it is made by: from a frozen snapshot it is the same. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type AgentProcess, AgentProcessTable } from '#fleet/agent-processes.ts'
import type { ClientActivityState } from '#fleet/client-activity.ts'
import { ClientObserver } from '#fleet/client-observer.ts'
import { Roster } from '#fleet/failure-detector.ts'
import { LeaseObserver } from '#fleet/lease-observer.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { Task } from '#fleet/task.ts'
import { beginTask } from '#fleet/task-ownership.ts'
import { WorkObserver } from '#fleet/work-observer.ts'
import { type Decision, decide } from '../../services/watchdog/decide.ts'
import { FlappingAgents } from '../../services/watchdog/flapping-agents.ts'
import type { Snapshot } from '../../services/watchdog/look-snapshot.ts'
import type { OpenIncident } from '../../services/watchdog/open-incidents.ts'
import { know } from '../core/fleet/know.ts'
import { freezeDeeply } from './freeze.ts'
import { CONFIG } from './stage.ts'

const { lateAfterMs: LATE, silentAfterMs: SILENT, leaseMs: LEASE, attemptsMax } = CONFIG
const AT = 200_000

const sessionOf = (agent: string): SessionId => `conv_${agent}/b`

function task(id: string, holder: string | null, more: Partial<Task> = {}): Task {
  const session = holder === null ? null : sessionOf(holder)
  const wanted = { id, description: `do ${id}`, priority: 'P2', role: null, holder: session, deadline: null } as const
  return { ...beginTask({ ...wanted, createdBy: null }, 0).task, ...more }
}

const process = (agent: string, state: AgentProcess['state']): AgentProcess => {
  return { id: agent, agent, name: `process ${agent}`, state, why: 'exit code 1', mayStart: false }
}

const incident = (kind: OpenIncident['kind'], agent: string | null, cause = `${kind}:${agent}`): OpenIncident => {
  return { cause, kind, agent, summary: cause, openedAt: AT - 90_000, seenAt: AT - 90_000 }
}

/** Agents w1 … w9, all heard first, of which those in `silent` were not heard since, and those in `gone` died. */
function rosterOf(silent: readonly string[], gone: readonly string[]): Roster {
  const roster = new Roster(CONFIG)
  const names = Array.from({ length: 9 }, (_, index) => `w${index + 1}`)
  know(
    roster,
    names.map((name) => ({ name, role: 'any', sessions: [sessionOf(name)] })),
    0,
  )
  for (let now = 0; now <= AT; now += 5_000) {
    const living = names.filter((name) => now < AT - SILENT || !silent.includes(name))
    const beats = living.map((name) => ({ session: sessionOf(name), host: `host-${name}`, seq: now + 1, version: now }))
    roster.hear(
      beats.map((beat) => ({ ...beat, incarnation: 'one', work: 0 })),
      now,
    )
    roster.due(now)
  }
  for (const agent of gone) roster.declareGone(agent, AT - 10_000)
  roster.due(AT)
  return roster
}

interface Scene {
  readonly silent?: readonly string[]
  readonly gone?: readonly string[]
  readonly tasks?: readonly Task[]
  readonly observed?: Partial<Snapshot['observed']>
  readonly board?: Partial<Snapshot['board']>
  readonly losses?: Snapshot['losses']
  /** When the supervisor was asked that says what lives. */
  readonly askedAt?: number
  readonly incidents?: readonly OpenIncident[]
}

function snapshotOf({
  silent = [],
  gone = [],
  tasks = [],
  observed,
  board,
  losses,
  askedAt = AT,
  incidents = [],
}: Scene): Snapshot {
  const roster = rosterOf(silent, gone)
  const processes = new AgentProcessTable()
  processes.take(
    'engine',
    [...gone, 'w8'].map((agent) => process(agent, 'living')),
    0,
  )
  processes.take('engine', [...gone.map((agent) => process(agent, 'ended')), process('w8', 'hindered')], askedAt)
  const leases = new LeaseObserver(LEASE)
  leases.observe(tasks, roster, 0)
  leases.observe(tasks, roster, AT)
  const work = new WorkObserver(CONFIG.takeWithinMs)
  work.observe(tasks, roster, 0, 0)
  work.observe(tasks, roster, AT, AT)
  return {
    at: AT,
    wall: AT,
    config: CONFIG,
    areTasksFresh: true,
    observed: {
      fleet: roster,
      processes,
      clients: new ClientObserver(),
      lost: new Set([...silent, ...gone]),
      unreachable: new Map(),
      answering: new Set(),
      repeatedGraces: () => null,
      hasSeenSilence: () => true,
      massFate: () => ({ returned: 0, departed: 0, missing: [] }),
      isBlind: false,
      collectionSeenAt: Number.POSITIVE_INFINITY,
      readAt: { now: AT, wall: AT },
      isMassSilence: roster.massSilence,
      massReturnUntil: 0,
      knowsAll: () => true,
      ...observed,
    },
    board: {
      tasks,
      holders: new Set(),
      leases,
      work,
      conditions: new Map(),
      saidWell: new Set(),
      readyToTry: new Map(),
      turnAt: 0,
      strandedSince: null,
      stalledTogetherAt: Number.NEGATIVE_INFINITY,
      ...board,
    },
    losses: losses ?? new Map(),
    lossHistory: new FlappingAgents(),
    openIncidents: new Map(incidents.map((each) => [each.cause, each])),
    departures: new Map(),
  }
}

/** So many starts that were interrupted. */
function begun(count: number): Task['attempts'] {
  const ended = { holder: sessionOf('w2'), startedAt: 0, end: 'interrupted', endedAt: 1, note: '' } as const
  return Array.from({ length: count }, (_, index) => ({ ...ended, epoch: index + 1 }))
}

const SCENES: readonly { title: string; scene: Scene; says: Readonly<Record<string, unknown>> }[] = [
  {
    title: 'nothing happened',
    scene: { tasks: [task('t1', 'w1')] },
    says: { moves: [], open: [], close: [], singleLosses: [], waiting: 0, movedFrom: [] },
  },
  {
    title: 'two agents are silent: both are reported, the tasks of one are moved, the other waits for its turn',
    scene: { silent: ['w1', 'w2'], tasks: [task('t1', 'w1'), task('t2', 'w2')] },
    says: {
      moves: ['t1'],
      open: ['silent:w1', 'silent:w2'],
      singleLosses: ['w1', 'w2'],
      waiting: 1,
      movedFrom: ['w1'],
    },
  },
  {
    title: 'a task came to a silent agent since beats were read: it is not moved before they were read again',
    scene: {
      silent: ['w1'],
      tasks: [task('t1', 'w1')],
      observed: { readAt: { now: -1, wall: -1 }, massReturnUntil: -1 },
    },
    says: { moves: [], open: ['silent:w1'], singleLosses: ['w1'], beatsWantedSince: AT },
  },
  {
    title: 'an agent died, a task was begun too often, and a task is new',
    scene: {
      gone: ['w1'],
      tasks: [task('t1', 'w1'), task('t2', 'w2', { attempts: begun(attemptsMax) }), task('t3', null)],
    },
    says: { moves: ['t3', 't1'], endings: ['t2'], open: ['gone:w1'], singleLosses: ['w1'], movedFrom: ['w1'] },
  },
  {
    title: 'what could not be reported before is reported, and what is over is closed',
    scene: {
      silent: ['w1'],
      losses: new Map([
        ['w1', { isDue: true, signsAtDeath: null }],
        ['w8', { isDue: false, signsAtDeath: 0 }],
      ]),
      incidents: [
        incident('silent', 'w3'),
        incident('gone', 'w8'),
        incident('restart_failed', 'w8'),
        incident('task_stalled', null, 'task_stalled:t9@1'),
        incident('blind', null, 'blind'),
        incident('supervisor_away', null, 'supervisor_away:tmux'),
      ],
      observed: { unreachable: new Map([['docker', AT - LATE]]), answering: new Set(['tmux']) },
    },
    says: {
      open: ['supervisor_away:docker', 'silent:w1'],
      close: ['blind', 'supervisor_away:tmux', 'silent:w3', 'gone:w8', 'restart_failed:w8', 'task_stalled:t9@1'],
    },
  },
  {
    title: 'another watchdog saw an agent die, and this one was told before that it lived: that is not over',
    scene: {
      losses: new Map([['w8', { isDue: false, signsAtDeath: rosterOf([], []).standing('w8')?.signs ?? null }]]),
      incidents: [incident('gone', 'w8')],
      askedAt: AT - 90_001,
    },
    says: { open: [], close: [] },
  },
  {
    title: 'the same of one that could not be started again',
    scene: {
      silent: ['w8'],
      incidents: [incident('restart_failed', 'w8')],
      askedAt: AT - 90_001,
    },
    says: { open: ['silent:w8'], close: [] },
  },
  {
    title: 'it was told so since, of an agent that is heard: that is over',
    scene: {
      losses: new Map([['w8', { isDue: false, signsAtDeath: rosterOf([], []).standing('w8')?.signs ?? null }]]),
      incidents: [incident('gone', 'w8')],
    },
    says: { open: [], close: ['gone:w8'] },
  },
  {
    title: 'another watchdog is blind, and this one saw beats collected before it said so: that is not over',
    scene: { incidents: [incident('blind', null, 'blind')], observed: { collectionSeenAt: AT - 90_001 } },
    says: { open: [], close: [] },
  },
  {
    title: 'another watchdog saw that no agent can take what lies with one that does nothing: that is not over',
    scene: {
      tasks: [task('t1', 'w2')],
      incidents: [incident('task_stranded', null, 'task_stranded:any')],
    },
    says: { open: [], close: [] },
  },
  {
    title: 'a mass silence: nothing is moved, and one incident is opened',
    scene: { silent: ['w1', 'w2', 'w3', 'w4', 'w5', 'w6'], tasks: [task('t1', 'w1')], board: { strandedSince: 7 } },
    says: { moves: [], open: ['mass_silence'], singleLosses: [], waiting: 0, strandedSince: 7 },
  },
  {
    title: 'every agent is gone for one task: it is stranded, and that is remembered',
    scene: { tasks: [task('t1', null)], observed: { fleet: new Roster(CONFIG) } },
    says: { moves: [], open: ['task_stranded:any'], strandedSince: AT },
  },
  {
    title: 'blind: nothing is planned, and nothing remembered',
    scene: {
      silent: ['w1'],
      tasks: [task('t1', 'w1')],
      observed: { isBlind: true, collectionSeenAt: Number.NEGATIVE_INFINITY },
    },
    says: { moves: [], open: ['blind'], singleLosses: [], board: null },
  },
]

/** All of a decision; of a failed agent its name, as the whole standing is the roster's own. */
function asData({ moves, ...rest }: Decision): object {
  return {
    ...rest,
    moves: moves.map(({ need, ...move }) => ({ ...move, need: { ...need, failed: need.failed?.agent } })),
  }
}

suite('a decision', () => {
  for (const { title, scene, says } of SCENES) {
    test(title, () => {
      const decision = decide(snapshotOf(scene))
      const all: Readonly<Record<string, unknown>> = {
        ...decision,
        ...decision.board,
        moves: decision.moves.map(({ move }) => move.task),
        endings: decision.endings.map(({ task }) => task),
        open: decision.open.map(({ cause }) => cause),
        close: decision.close.map(({ cause }) => cause),
      }
      assert.deepEqual(Object.fromEntries(Object.keys(says).map((name) => [name, all[name]])), says)
    })

    test(`${title}: from a frozen snapshot it is the same, twice`, () => {
      const expected = asData(decide(snapshotOf(scene)))
      const frozen = freezeDeeply(snapshotOf(scene))
      assert.deepEqual(asData(decide(frozen)), expected)
      assert.deepEqual(asData(decide(frozen)), expected, 'the first time has left no trace')
    })
  }

  /** The client of w1, as it was known before a pause and what its host has said since, a moment ago. */
  function clientAfterPause(before: ClientActivityState, now: ClientActivityState | null): ClientObserver {
    const clients = new ClientObserver()
    const say = (state: ClientActivityState, at: number): void => {
      const beat = { session: sessionOf('w1'), host: 'h', incarnation: 'one', seq: at, work: 0, version: at }
      clients.hear([{ ...beat, activity: { state, what: null, until: null } }], () => 'w1', at)
    }
    say(before, 0)
    clients.settle(60_000)
    clients.grace(AT - 2_000)
    if (now !== null) say(now, AT - 1_000)
    clients.settle(AT)
    return clients
  }

  test('a dialog of before a pause is told once its host has said since that it is open', () => {
    const told = (now: ClientActivityState | null): string[] => {
      const observed = { clients: clientAfterPause('waiting', now) }
      return decide(snapshotOf({ observed })).open.map(({ kind }) => kind)
    }
    assert.deepEqual(told(null), [])
    assert.deepEqual(told('working'), [])
    assert.deepEqual(told('waiting'), ['waiting'])
  })

  test('a limit is told of once its host has said so since a pause, and while it is heard; one that is open lasts', () => {
    const parked = { session: sessionOf('w1'), state: 'parked', why: 'usage limit', until: null, since: 0 } as const
    const board = { conditions: new Map([['w1', parked]]) }
    const decided = (now: ClientActivityState | null, scene: Scene = {}) => {
      const { open, close } = decide(
        snapshotOf({ ...scene, observed: { clients: clientAfterPause('parked', now) }, board }),
      )
      const changes = [...open.map(({ cause }) => cause), ...close.map(({ cause }) => `-${cause}`)]
      return changes.filter((each) => each.includes('parked'))
    }
    assert.deepEqual(decided(null), [])
    assert.deepEqual(decided('parked'), ['parked:w1'])
    assert.deepEqual(decided('parked', { silent: ['w1'] }), [])
    for (const silent of [[], ['w1']]) {
      assert.deepEqual(decided(null, { silent, incidents: [incident('parked', 'w1')] }), [])
    }
  })

  test('a limit ends by what is known of a client, and not by a task that its agent has in hand', () => {
    const busy = task('t1', 'w1', { state: 'in_progress', incarnation: 'claude:one' })
    const ended = (clients: ClientObserver): string[] => {
      return decide(
        snapshotOf({ tasks: [busy], incidents: [incident('parked', 'w1')], observed: { clients } }),
      ).close.map(({ cause }) => cause)
    }
    assert.deepEqual(ended(clientAfterPause('working', 'parked')), [])
    assert.deepEqual(ended(clientAfterPause('working', 'working')), ['parked:w1'])
  })

  test('each way of changing a snapshot is refused once it is frozen', () => {
    const scene = { silent: ['w1'], tasks: [task('t1', 'w1')], incidents: [incident('silent', 'w3')] }
    const changes: readonly ((snapshot: Snapshot) => unknown)[] = [
      ({ observed }) => (observed.fleet as Roster).noteIncident('w1', AT),
      ({ observed }) => (observed.fleet as Roster).grace(AT),
      ({ observed }) => (observed.lost as Set<string>).add('w2'),
      ({ observed }) => (observed.processes as AgentProcessTable).doubt(),
      ({ observed }) => (observed.clients as ClientObserver).grace(AT),
      ({ observed }) => Object.assign(observed, { isBlind: true }),
      ({ observed }) => Object.assign(observed.fleet.standing('w1') ?? {}, { proven: false }),
      ({ observed }) => Object.assign([...observed.fleet.standings()][0] ?? {}, { proven: false }),
      ({ observed }) => (observed.fleet.counts as { alive: number }).alive++,
      ({ board }) => (board.tasks as Task[]).pop(),
      ({ board }) => Object.assign(board.tasks[0] ?? {}, { moves: 1 }),
      ({ board }) => (board.leases as LeaseObserver).grace(AT),
      ({ board }) => (board.work as WorkObserver).grace(AT),
      ({ board }) => (board.conditions as Map<string, unknown>).set('w1', {}),
      ({ board }) => Object.assign(board, { strandedSince: AT }),
      ({ losses }) => (losses as Map<string, unknown>).set('w1', { isDue: true, signsAtDeath: null }),
      ({ lossHistory }) => (lossHistory as FlappingAgents).noteLoss('w1', AT),
      ({ openIncidents }) => (openIncidents as Map<string, unknown>).delete('silent:w3'),
      ({ openIncidents }) => Object.assign(openIncidents.get('silent:w3') ?? {}, { agent: 'w4' }),
    ]
    for (const change of changes) {
      change(snapshotOf(scene)) // possible as long as it is not frozen
      const frozen = freezeDeeply(snapshotOf(scene))
      assert.throws(() => change(frozen), TypeError, String(change))
    }
  })
})
