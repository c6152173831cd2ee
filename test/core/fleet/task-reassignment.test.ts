import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { AgentProcessTable } from '#fleet/agent-processes.ts'
import type { ObservedBeat } from '#fleet/beat.ts'
import { ClientObserver } from '#fleet/client-observer.ts'
import { Roster } from '#fleet/failure-detector.ts'
import { LeaseObserver } from '#fleet/lease-observer.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { Task } from '#fleet/task.ts'
import {
  type Candidate,
  type CandidateView,
  chooseSuccessor,
  expectedRoles,
  type Fallback,
  findCandidates,
  findNeeds,
  type Need,
  planMoves,
} from '#fleet/task-reassignment.ts'
import { WorkObserver } from '#fleet/work-observer.ts'
import { know } from './know.ts'

const LEASE = 60_000

const sessionOf = (agent: string): SessionId => `conv_${agent}/b`

function task(id: string, more: Partial<Task> = {}): Task {
  return {
    id,
    description: `do ${id}`,
    priority: 'P2',
    role: null,
    state: 'in_progress',
    epoch: 1,
    holder: sessionOf('w1'),
    originalAssignee: null,
    incarnation: 'life',
    leaseSeq: 1,
    otherRoles: [],
    work: 0,
    attempts: [],
    pause: null,
    reminded: 0,
    onDeadline: 'fail',
    onStall: null,
    moves: 0,
    progress: null,
    result: null,
    deadline: null,
    createdBy: 'conv_w1/a',
    createdAt: 0,
    updatedAt: 0,
    ...more,
  }
}

function candidate(agent: string, more: Partial<Candidate> = {}): Candidate {
  return { agent, role: 'any', host: `host-${agent}`, session: sessionOf(agent), load: 0, stuck: false, ...more }
}

const failed = { agent: 'w1', role: 'backend', host: 'box-1' }

/** Agents w1 … w<count>, all heard at `now`; the orchestrator holds the ends a. */
function rosterOf(count: number, now = 0, roles: Readonly<Record<string, string>> = {}): Roster {
  const roster = new Roster({ lateAfterMs: 15_000, silentAfterMs: 60_000 })
  const workers = Array.from({ length: count }, (_, index) => `w${index + 1}`)
  know(
    roster,
    [
      ...workers.map((name) => ({ name, role: roles[name] ?? 'any', sessions: [sessionOf(name)] })),
      { name: 'boss', role: 'orchestrator', sessions: workers.map((name): SessionId => `conv_${name}/a`) },
    ],
    now,
  )
  beat(roster, now, ...workers)
  roster.hear([pulse('conv_w1/a')], now)
  return roster
}

let seq = 0
function pulse(session: SessionId, more: Partial<ObservedBeat> = {}): ObservedBeat {
  seq += 1
  return { session, host: `host-${session}`, incarnation: 'one', seq, work: 0, version: seq, ...more }
}

function beat(roster: Roster, now: number, ...agents: readonly string[]): void {
  roster.due(now)
  roster.hear(
    agents.map((name) => pulse(sessionOf(name))),
    now,
  )
  roster.due(now)
}

const anyLoss = (): boolean => true

function viewOf(roster: Roster, conditions: CandidateView['conditions'] = new Map()): CandidateView {
  return {
    roster,
    leases: new LeaseObserver(LEASE),
    work: new WorkObserver(120_000),
    processes: new AgentProcessTable(),
    clients: new ClientObserver(),
    conditions,
  }
}

const NO_FALLBACK: Fallback = new Map()
const NO_LIMITS = {
  fallback: NO_FALLBACK,
  agentsNow: Number.POSITIVE_INFINITY,
  expectedRoles: new Set<string>(),
  waitsIfFoundAfter: 1_000,
}

const need = (id: string, more: Partial<Need> = {}, fields: Partial<Task> = {}): Need => ({
  task: task(id, fields),
  reason: 'silent',
  failed,
  since: 0,
  ...more,
})

/** Who gets a task for this role. */
function successorFor(
  role: string | null,
  candidates: readonly Candidate[],
  more: Partial<Task> = {},
  by: Fallback = NO_FALLBACK,
) {
  return chooseSuccessor(need('t', {}, { role, ...more }), candidates, by)?.agent ?? null
}

test('a task goes to an agent of its role, and to no other', () => {
  const frontend = candidate('f1', { role: 'frontend', load: 9 })
  const candidates = [candidate('x1'), candidate('b1', { role: 'backend', load: 8 }), frontend]
  assert.equal(successorFor('frontend', candidates), 'f1')
  assert.equal(successorFor('docs', candidates), null)
  assert.equal(successorFor('frontend', [...candidates, candidate('f2', { role: 'frontend' })]), 'f2')
})

test('a task of no role goes to one of the failed agent’s, else to any; then the least loaded, then the name', () => {
  const backend = candidate('b1', { role: 'backend', load: 8 })
  assert.equal(successorFor(null, [candidate('x1'), backend]), 'b1')
  assert.equal(successorFor(null, [candidate('x2'), candidate('x1'), candidate('x3', { load: 1 })]), 'x1')
  assert.equal(successorFor(null, []), null)
})

test('other roles that a task names may do it, and roles that the fleet lets stand in when none of these can', () => {
  const by: Fallback = new Map([
    ['tests', ['review', 'backend']],
    ['deploy', ['any']],
  ])
  const [docs, review, backend] = ['docs', 'review', 'backend'].map((role) => candidate(`of-${role}`, { role })) as [
    Candidate,
    Candidate,
    Candidate,
  ]
  assert.equal(successorFor('tests', [backend, review, docs], { otherRoles: ['docs'] }, by), 'of-docs')
  assert.equal(successorFor('tests', [backend, review, docs], {}, by), 'of-review')
  assert.equal(successorFor('tests', [backend, docs], {}, by), 'of-backend')
  assert.equal(successorFor('tests', [docs], {}, by), null)
  assert.equal(successorFor('deploy', [docs], {}, by), 'of-docs')
})

test('one on the failed agent’s host takes over only when nobody else of the role is there', () => {
  const near = candidate('b1', { role: 'backend', host: 'box-1' })
  const far = candidate('b2', { role: 'backend', host: 'box-2', load: 50 })
  assert.equal(successorFor('backend', [near, far]), 'b2')
  assert.equal(successorFor('backend', [near]), 'b1')
})

test('one that beats but lets its tasks lie takes over only when nobody else is there, and never for a move that need not be', () => {
  const stuck = candidate('b1', { role: 'backend', stuck: true })
  const other = candidate('b2', { role: 'backend', load: 50 })
  assert.equal(successorFor('backend', [stuck, other]), 'b2')
  assert.equal(successorFor('backend', [stuck]), 'b1')
  const optional = need('t', { reason: 'not_taken' }, { role: 'backend' })
  assert.equal(chooseSuccessor(optional, [stuck], NO_FALLBACK), null)
})

test('work that waits behind other work goes only to an agent of its role that does nothing', () => {
  const waiting = need('t', { reason: 'holder_busy' }, { role: 'backend' })
  const busy = candidate('b1', { role: 'backend', load: 1 })
  const stand = candidate('x1')
  const by: Fallback = new Map([['backend', ['any']]])
  assert.equal(chooseSuccessor(waiting, [busy, stand], by), null)
  assert.equal(chooseSuccessor(waiting, [busy, stand, candidate('b2', { role: 'backend' })], by)?.agent, 'b2')
})

test('whoever failed at a task within seconds gets it again only when nobody else is there', () => {
  const again = need(
    't',
    { reason: 'unassigned', failed: { ...failed, agent: 'b1' } },
    { role: 'backend', holder: null },
  )
  const same = candidate('b1', { role: 'backend' })
  assert.equal(chooseSuccessor(again, [same, candidate('b2', { role: 'backend', load: 9 })], NO_FALLBACK)?.agent, 'b2')
  assert.equal(chooseSuccessor(again, [same], NO_FALLBACK)?.agent, 'b1')
})

const anyRole = fc.constantFrom('backend', 'frontend', 'docs')
const anyCandidates = fc.uniqueArray(
  fc.record({
    agent: fc.constantFrom(...Array.from({ length: 12 }, (_, index) => `w${index}`)),
    role: anyRole,
    host: fc.constantFrom('box-1', 'box-2', 'box-3', null),
    session: fc.constant('conv_x/b' as SessionId),
    load: fc.nat(4),
    stuck: fc.boolean(),
  }),
  { selector: ({ agent }) => agent },
)

test('properties of a successor', () => {
  const anyReason = fc.constantFrom('silent', 'unassigned', 'not_taken', 'holder_busy')
  fc.assert(
    fc.property(fc.option(anyRole), anyReason, anyCandidates, fc.nat(1_000), (role, reason, candidates, salt) => {
      const wanted = need('t', { reason }, { role })
      const chosen = chooseSuccessor(wanted, candidates, NO_FALLBACK)
      const shuffled = [...candidates].sort((x, y) => ((x.load * 7 + salt) % 5) - ((y.load * 3 + salt) % 7))
      assert.equal(chooseSuccessor(wanted, shuffled, NO_FALLBACK), chosen, 'the order of asking changes nothing')
      const fitting = candidates.filter((each) => {
        const isHere = reason === 'unassigned' || each.agent !== failed.agent
        const isFree = reason !== 'holder_busy' || each.load === 0
        const isWell = reason === 'silent' || reason === 'unassigned' || !each.stuck
        return isHere && isFree && isWell && (role === null || each.role === role)
      })
      assert.equal(chosen === null, fitting.length === 0, 'somebody is chosen whenever somebody fits')
      if (chosen === null) return
      assert.ok(fitting.some(({ agent }) => agent === chosen.agent))
      if (fitting.some(({ stuck }) => !stuck)) assert.equal(chosen.stuck, false)
    }),
    { numRuns: 500 },
  )
})

test('a silent agent’s tasks need another owner, whatever their state; a late one’s do not', () => {
  const roster = rosterOf(3)
  const tasks = [task('t1', { state: 'assigned', incarnation: null }), task('t2'), task('t3', { holder: 'conv_w2/b' })]
  const leases = new LeaseObserver(10 * LEASE)
  beat(roster, 30_000, 'w2', 'w3')
  leases.observe(tasks, roster, 30_000)
  assert.equal(roster.standing('w1')?.verdict, 'late')
  assert.deepEqual(findNeeds(tasks, roster, leases, anyLoss, 30_000), [])
  beat(roster, 60_000, 'w2', 'w3')
  assert.deepEqual(
    findNeeds(tasks, roster, leases, () => false, 60_000),
    [],
    'it may be one of many',
  )
  const needs = findNeeds(tasks, roster, leases, anyLoss, 60_000)
  assert.deepEqual(
    needs.map(({ task, reason, failed, since }) => [task.id, reason, failed?.agent, since]),
    [
      ['t1', 'silent', 'w1', 60_000],
      ['t2', 'silent', 'w1', 60_000],
    ],
  )
})

test('only those alive and heard since the last grace are candidates, by the end b, with what they hold', () => {
  const roster = rosterOf(4)
  const tasks = [task('t1', { holder: 'conv_w2/b' }), task('t2', { holder: 'conv_w2/b' })]
  beat(roster, 30_000, 'w2', 'w3')
  const found = (): (string | number)[][] =>
    findCandidates(tasks, viewOf(roster)).map(({ agent, session, load }) => [agent, session, load])
  assert.deepEqual(found(), [
    ['w2', 'conv_w2/b', 2],
    ['w3', 'conv_w3/b', 0],
  ])
  roster.grace(40_000)
  assert.deepEqual(found(), [])
  beat(roster, 41_000, 'w3')
  assert.deepEqual(found(), [['w3', 'conv_w3/b', 0]])
})

test('a lease lapses when its sequence stood still before the observer’s eyes, and not before', () => {
  const roster = rosterOf(2)
  const leases = new LeaseObserver(LEASE)
  const seen = (leaseSeq: number, now: number): Task => {
    const read = task('t1', { leaseSeq })
    beat(roster, now, 'w1', 'w2')
    leases.observe([read], roster, now)
    return read
  }
  seen(1, 0)
  assert.equal(leases.nextLapse, LEASE)
  assert.equal(leases.lapsedAt(seen(2, 50_000)), null)
  assert.equal(leases.nextLapse, 50_000 + LEASE)
  assert.equal(leases.lapsedAt(seen(2, 109_999)), null)
  const lapsed = seen(2, 110_000)
  assert.equal(leases.lapsedAt(lapsed), 110_000)
  assert.equal(leases.nextLapse, Number.POSITIVE_INFINITY)
  assert.deepEqual(
    findNeeds([lapsed], roster, leases, anyLoss, 110_000).map(({ reason, failed }) => [reason, failed?.agent]),
    [['lease_lapsed', 'w1']],
  )
  assert.equal(leases.lapsedAt(seen(3, 120_000)), null, 'renewed late is renewed')
})

test('after a grace no lease lapses for its full time', () => {
  const roster = rosterOf(1)
  const leases = new LeaseObserver(LEASE)
  const held = task('t1')
  leases.observe([held], roster, 0)
  leases.grace(500_000)
  leases.observe([held], roster, 500_000 + LEASE - 1)
  assert.equal(leases.lapsedAt(held), null)
  leases.observe([held], roster, 500_000 + LEASE)
  assert.equal(leases.lapsedAt(held), 500_000 + LEASE)
})

test('what an agent of the Python bridge took does not lapse: nobody there renews', () => {
  const roster = rosterOf(1)
  const leases = new LeaseObserver(LEASE)
  const foreign = task('t1', { incarnation: null, state: 'accepted' })
  leases.observe([foreign], roster, 0)
  leases.observe([foreign], roster, 10 * LEASE)
  assert.equal(leases.lapsedAt(foreign), null)
})

test('who lets its only lease lapse is stuck, and what waits for it goes too, until it shows work', () => {
  const roster = rosterOf(2)
  const leases = new LeaseObserver(LEASE)
  const held = task('t1')
  const waiting = task('t2', { state: 'assigned', incarnation: null })
  beat(roster, 0, 'w1')
  leases.observe([held], roster, 0)
  leases.observe([held, waiting], roster, 30_000)
  beat(roster, LEASE, 'w1')
  leases.observe([held, waiting], roster, LEASE)
  assert.equal(leases.isStuck('w1'), true)
  assert.equal(leases.lapsedAt(waiting), LEASE)

  const moved = { ...held, holder: sessionOf('w2'), epoch: 2, state: 'assigned' as const, incarnation: null }
  assert.deepEqual([...leases.observe([moved], roster, LEASE + 1_000)], ['w1'], 'it is seen that tasks left w1')
  assert.equal(leases.isStuck('w1'), true, 'losing its tasks is no sign of life')
  const given = task('t3', { state: 'assigned', incarnation: null })
  leases.observe([given], roster, LEASE + 2_000)
  assert.equal(leases.lapsedAt(given), null, 'given to it for want of anybody else, it has a lease’s time to take it')
  beat(roster, 2 * LEASE + 2_000, 'w1')
  leases.observe([given], roster, 2 * LEASE + 2_000)
  assert.equal(leases.lapsedAt(given), 2 * LEASE + 2_000)

  roster.hear([pulse(sessionOf('w1'), { work: 1 })], 2 * LEASE + 3_000)
  leases.observe([given], roster, 2 * LEASE + 3_000)
  assert.equal(leases.isStuck('w1'), false, 'it did some work')
  assert.equal(leases.lapsedAt(given), null)
})

test('an agent that renews one lease is not stuck because of another', () => {
  const roster = rosterOf(1)
  const leases = new LeaseObserver(LEASE)
  leases.observe([task('t1'), task('t2')], roster, 0)
  leases.observe([task('t1'), task('t2', { leaseSeq: 2 })], roster, 50_000)
  leases.observe([task('t1'), task('t2', { leaseSeq: 2 })], roster, LEASE)
  assert.equal(leases.lapsedAt(task('t1')), LEASE)
  assert.equal(leases.isStuck('w1'), false)
})

test('an agent is unstuck by taking a task', () => {
  const roster = rosterOf(1)
  const leases = new LeaseObserver(LEASE)
  leases.observe([task('t1')], roster, 0)
  leases.observe([task('t1')], roster, LEASE)
  assert.equal(leases.isStuck('w1'), true)
  leases.observe([task('t1', { epoch: 2, incarnation: 'next', leaseSeq: 2 })], roster, LEASE + 1)
  assert.equal(leases.isStuck('w1'), false)
})

test('pending tasks and those of ended conversations need an owner', () => {
  const roster = rosterOf(1)
  const leases = new LeaseObserver(LEASE)
  const tasks = [task('t1', { state: 'pending', holder: null }), task('t2', { holder: 'conv_gone/b' })]
  leases.observe(tasks, roster, 0)
  assert.deepEqual(
    findNeeds(tasks, roster, leases, anyLoss, 5).map(({ task, reason, failed }) => [task.id, reason, failed]),
    [
      ['t1', 'unassigned', null],
      ['t2', 'conversation_ended', null],
    ],
  )
})

test('loads count what the plan itself gives away', () => {
  const needs = ['t1', 't2', 't3', 't4'].map((id) => need(id))
  const { moves } = planMoves(needs, [candidate('w2'), candidate('w3', { load: 1 })], NO_LIMITS)
  assert.deepEqual(
    moves.map(({ move, successor }) => [move.task, successor]),
    [
      ['t1', 'w2'],
      ['t2', 'w2'],
      ['t3', 'w3'],
      ['t4', 'w2'],
    ],
  )
  assert.deepEqual(moves[0]?.move, { task: 't1', epoch: 1, to: 'conv_w2/b', reason: 'silent' })
})

test('a task that needs another owner for two reasons is planned once', () => {
  const lapsed = need('t1', { reason: 'lease_lapsed' })
  const needs = [lapsed, { ...lapsed, reason: 'not_taken', since: 100 } as const, need('t2', { since: 200 })]
  const { moves } = planMoves(needs, [candidate('w2'), candidate('w3'), candidate('w4', { load: 1 })], NO_LIMITS)
  assert.deepEqual(
    moves.map(({ move, successor }) => [move.task, move.reason, successor]),
    [
      ['t1', 'lease_lapsed', 'w2'],
      ['t2', 'silent', 'w3'],
    ],
  )
})

test('one failed agent’s tasks at a time, who failed first first; dealing waits for no turn', () => {
  const other = { ...failed, agent: 'w9' }
  const needs = [
    need('late', { failed: other, since: 200 }),
    need('p3', { since: 100 }, { priority: 'P3' }),
    need('p0', { since: 100 }, { priority: 'P0' }),
    need('new', { reason: 'unassigned', failed: null, since: 300 }, { holder: null }),
  ]
  const candidates = [candidate('w2'), candidate('w3')]
  const plan = planMoves(needs, candidates, { ...NO_LIMITS, agentsNow: 1 })
  assert.deepEqual(
    plan.moves.map(({ move }) => move.task),
    ['p0', 'p3', 'new'],
  )
  assert.equal(plan.waiting, 1)
  const none = planMoves(needs, candidates, { ...NO_LIMITS, agentsNow: 0 })
  assert.deepEqual(
    none.moves.map(({ move }) => move.task),
    ['new'],
  )
  assert.equal(none.waiting, 2)
})

test('an agent gets nothing new before it is known what its client does', () => {
  const roster = rosterOf(2)
  const clients = new ClientObserver()
  clients.hear([pulse(sessionOf('w1'), { activity: { state: 'waiting', what: null, until: null } })], () => 'w1', 0)
  const found = (): string[] => findCandidates([], { ...viewOf(roster), clients }).map(({ agent }) => agent)
  clients.settle(1_999)
  assert.deepEqual(found(), ['w2'])
  clients.hear([pulse(sessionOf('w1'), { activity: { state: 'idle', what: null, until: null } })], () => 'w1', 2_000)
  clients.settle(4_000)
  assert.deepEqual(found(), ['w1', 'w2'])
  clients.grace(5_000)
  assert.deepEqual(found(), ['w2'])
})

test('an agent whose place cannot work gets nothing, and one that tries whether it can gets one task', () => {
  const roster = rosterOf(4)
  beat(roster, 1_000, 'w1', 'w2', 'w3', 'w4')
  const conditions = new Map([
    ['w1', { state: 'sick' }],
    ['w2', { state: 'parked' }],
    ['w3', { state: 'probing' }],
  ] as const)
  const found = (...tasks: Task[]): string[] =>
    findCandidates(tasks, viewOf(roster, conditions)).map(({ agent }) => agent)
  assert.deepEqual(found(), ['w3', 'w4'])
  assert.deepEqual(found(task('t1', { holder: sessionOf('w3') })), ['w4'])
})

test('with nobody to take them tasks are stranded, and stay where they are', () => {
  const plan = planMoves([need('t1')], [candidate('w1')], NO_LIMITS)
  assert.deepEqual([plan.moves.length, plan.stranded.map(({ task }) => task.id)], [0, ['t1']])
})

test('work that nobody has begun waits for its role before another stands in; interrupted work does not', () => {
  const fresh = need('new', { reason: 'unassigned', failed: null }, { holder: null, role: 'docs' })
  const begun = need('old', {}, { role: 'docs' })
  const candidates = [candidate('w2', { role: 'backend' })]
  const limits = { ...NO_LIMITS, fallback: new Map([['docs', ['any']]]) }
  const expected = { ...limits, expectedRoles: new Set(['docs']) }
  const waits = planMoves([fresh, begun], candidates, expected)
  assert.deepEqual(
    waits.moves.map(({ move }) => move.task),
    ['old'],
  )
  assert.deepEqual(waits.stranded, [])
  const there = planMoves([fresh], [...candidates, candidate('w3', { role: 'docs' })], expected)
  assert.equal(there.moves[0]?.successor, 'w3')
  assert.equal(planMoves([fresh], candidates, limits).moves[0]?.successor, 'w2')
  const early = planMoves([{ ...fresh, since: 1_001 }], candidates, limits)
  assert.deepEqual([early.moves, early.stranded], [[], []], 'somebody of that role may join yet')
})

test('expected are the roles of those late or not yet heard', () => {
  const roster = rosterOf(3, 0, { w1: 'docs', w2: 'tests', w3: 'review' })
  beat(roster, 20_000, 'w2', 'w3')
  assert.deepEqual([...expectedRoles(roster)], ['docs'])
  roster.grace(20_000)
  beat(roster, 21_000, 'w2')
  assert.deepEqual([...expectedRoles(roster)].sort(), ['docs', 'review'])
  beat(roster, 120_000, 'w2')
  assert.deepEqual([...expectedRoles(roster)], [])
})

test('properties of a plan', () => {
  const anyNeed = fc.record({
    id: fc.nat(30),
    agent: fc.constantFrom('w1', 'w2', 'w3'),
    reason: fc.constantFrom('silent', 'lease_lapsed', 'unassigned', 'conversation_ended'),
    since: fc.nat(3),
  })
  fc.assert(
    fc.property(
      fc.uniqueArray(anyNeed, { selector: ({ id }) => id }),
      anyCandidates,
      fc.nat(2),
      (drawn, candidates, agentsNow) => {
        const needs = drawn.map(({ id, agent, reason, since }) =>
          need(
            `t${id}`,
            {
              reason,
              since,
              failed: reason === 'silent' || reason === 'lease_lapsed' ? { ...failed, agent } : null,
            },
            { holder: reason === 'unassigned' ? null : sessionOf(agent) },
          ),
        )
        const plan = planMoves(needs, candidates, { ...NO_LIMITS, agentsNow })
        const named = [...plan.moves.map(({ need }) => need), ...plan.stranded].map(({ task }) => task.id)
        assert.equal(new Set(named).size, named.length, 'each task has one fate')
        for (const { move, need, successor } of plan.moves) {
          assert.notEqual(successor, need.failed?.agent)
          assert.equal(move.epoch, need.task.epoch)
        }
        const turns = plan.moves.filter(({ need }) => need.reason !== 'unassigned')
        const failures = new Set(turns.map(({ need }) => need.failed?.agent ?? need.task.holder))
        assert.ok(failures.size <= agentsNow)
        if (agentsNow === 0) assert.equal(turns.length, 0)
      },
    ),
    { numRuns: 500 },
  )
})
