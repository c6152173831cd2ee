import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FOREIGN_INCARNATION, type ObservedBeat } from '#fleet/beat.ts'
import { type Agent, type Conversation, endsOf } from '#fleet/conversation.ts'
import { Roster, type VerdictChange } from '#fleet/failure-detector.ts'
import { detectPause } from '#fleet/observer-pause.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { know } from './know.ts'

const LATE = 15_000
const SILENT = 60_000
const patience = { lateAfterMs: LATE, silentAfterMs: SILENT }

const sessionOf = (agent: string): SessionId => `conv_${agent}/b`
const agent = (name: string, ...sessions: SessionId[]): Agent => ({
  name,
  role: `role-${name}`,
  sessions: sessions.length > 0 ? sessions : [sessionOf(name)],
})
const names = (count: number): string[] => Array.from({ length: count }, (_, index) => `w${index + 1}`)

let version = 0
function pulse(name: string, seq: number, more: Partial<ObservedBeat> = {}): ObservedBeat {
  version += 1
  return { session: sessionOf(name), host: `host-${name}`, incarnation: 'one', seq, work: 0, version, ...more }
}

function rosterOf(...agents: readonly string[]): Roster {
  const roster = new Roster(patience)
  know(
    roster,
    agents.map((name) => agent(name)),
    0,
  )
  return roster
}

const steps = (changes: readonly VerdictChange[]): string[] =>
  changes.map(({ agent, from, to, at }) => `${agent} ${from}>${to} ${at}`)

test('an agent that stops is late and then silent, exactly when the waits are over', () => {
  const roster = rosterOf('w1')
  roster.hear([pulse('w1', 1)], 1_000)
  assert.equal(roster.nextDeadline(), 1_000 + LATE)
  assert.deepEqual(steps(roster.due(1_000 + LATE - 1)), [])
  assert.deepEqual(steps(roster.due(1_000 + LATE)), [`w1 alive>late ${1_000 + LATE}`])
  assert.equal(roster.nextDeadline(), 1_000 + SILENT)
  assert.deepEqual(steps(roster.due(1_000 + SILENT - 1)), [])
  assert.deepEqual(steps(roster.due(99_000_000)), [`w1 late>silent ${1_000 + SILENT}`])
  assert.equal(roster.nextDeadline(), Number.POSITIVE_INFINITY)
  assert.equal(roster.standing('w1')?.since, 1_000 + SILENT)
})

test('a look that comes late passes both verdicts, each for its own moment', () => {
  const roster = rosterOf('w1')
  assert.deepEqual(steps(roster.due(70_000)), [`w1 alive>late ${LATE}`, `w1 late>silent ${SILENT}`])
})

test('while many are learned others are heard, and whoever is learned last has a full silence too', () => {
  const roster = new Roster(patience)
  const conversation = (name: string): Conversation => ({
    id: `conv_${name}`,
    roles: { a: 'orchestrator', b: `role-${name}` },
    agents: { a: 'boss', b: name },
    createdAt: 0,
    expiresAt: 1e15,
  })
  let now = 0
  const learning = roster.learn(endsOf(['w1', 'w2', 'w3'].map(conversation)), () => now)
  learning.next() // the orchestrator
  learning.next() // w1
  now = LATE - 1
  roster.hear([pulse('w1', 1)], now)
  learning.next() // the orchestrator again
  learning.next() // w2
  now = LATE + 1
  roster.hear([pulse('boss', 1, { session: 'conv_w1/a' })], now)
  assert.deepEqual(steps(roster.due(now)), [])
  for (const _ of learning);
  assert.deepEqual(steps(roster.due(2 * LATE)), [`w1 alive>late ${2 * LATE - 1}`, `w2 alive>late ${2 * LATE - 1}`])
  assert.deepEqual(
    [...roster.standings()].map(({ agent, role }) => `${agent} ${role}`),
    ['boss orchestrator', 'w1 role-w1', 'w2 role-w2', 'w3 role-w3'],
  )
})

test('only a change of incarnation or sequence is a beat', () => {
  const roster = rosterOf('w1')
  roster.hear([pulse('w1', 7)], 0)
  roster.hear([pulse('w1', 7, { work: 3, host: 'elsewhere' })], 14_000)
  assert.deepEqual(steps(roster.due(LATE)), [`w1 alive>late ${LATE}`], 'the same sequence again proves nothing')
  roster.hear([pulse('w1', 1, { incarnation: 'two' })], 20_000)
  assert.deepEqual(steps(roster.due(20_000)), ['w1 late>alive 20000'], 'a new life may count from one')
  roster.hear([pulse('w1', 1, { incarnation: 'three' })], 30_000)
  assert.equal(roster.nextDeadline(), 30_000 + LATE, 'or be at the same count')
})

test('a silent agent is alive with its next beat', () => {
  const roster = rosterOf('w1')
  roster.due(SILENT)
  roster.hear([pulse('w1', 1)], 100_000)
  assert.deepEqual(steps(roster.due(100_000)), ['w1 silent>alive 100000'])
  assert.equal(roster.nextDeadline(), 100_000 + LATE)
})

test('an agent with several sessions is heard by any of them, and takes tasks by the end b heard last', () => {
  const roster = new Roster(patience)
  know(roster, [agent('w1', 'conv_old/b', 'conv_new/b'), agent('boss', 'conv_old/a', 'conv_new/a')], 0)
  roster.hear([pulse('w1', 1, { session: 'conv_old/b' })], 1_000)
  assert.equal(roster.standing('w1')?.taskSession, 'conv_old/b')
  roster.hear([pulse('w1', 1, { session: 'conv_new/b' })], 2_000)
  assert.equal(roster.standing('w1')?.taskSession, 'conv_new/b')
  assert.equal(roster.agentOf('conv_old/b'), 'w1')
  assert.equal(roster.standing('boss')?.taskSession, null, 'who has only ends a takes no tasks')
  know(roster, [agent('w1', 'conv_old/b')], 3_000)
  assert.equal(roster.standing('w1')?.taskSession, 'conv_old/b', 'the other conversation has ended')
  assert.equal(roster.agentOf('conv_new/b'), undefined)
})

test('an agent that never beat is ruled on from when it became known, for the sake of work that lies with it', () => {
  const roster = rosterOf('w1')
  know(roster, [agent('w1'), agent('w2')], 30_000)
  assert.deepEqual(steps(roster.due(SILENT)), [
    `w1 alive>late ${LATE}`,
    `w2 alive>late ${30_000 + LATE}`,
    `w1 late>silent ${SILENT}`,
  ])
  assert.deepEqual(steps(roster.due(30_000 + SILENT)), [`w2 late>silent ${30_000 + SILENT}`])
})

test('who became known a moment before another was heard is due a moment before it', () => {
  const roster = rosterOf('w1')
  roster.hear([pulse('w1', 1)], 1_000)
  know(roster, [agent('w1'), agent('w2')], 999)
  assert.equal(roster.nextDeadline(), 999 + LATE)
  assert.deepEqual(steps(roster.due(999 + LATE)), [`w2 alive>late ${999 + LATE}`])
})

test('agents whose conversations ended are forgotten, whatever was thought of them', () => {
  const roster = rosterOf('w1', 'w2', 'w3')
  roster.hear([pulse('w2', 1), pulse('w3', 1)], 20_000)
  roster.due(20_000 + LATE)
  know(roster, [agent('w3')], 36_000)
  assert.equal(roster.size, 1)
  assert.deepEqual(roster.counts, { new: 0, alive: 0, late: 1, silent: 0, gone: 0 })
  assert.deepEqual(steps(roster.due(20_000 + SILENT)), [`w3 late>silent ${20_000 + SILENT}`])
  assert.deepEqual(roster.tally, { count: 1, unheard: 1, lost: 1 })
})

test('beats from before the observer came prove nothing; the next one does', () => {
  const roster = new Roster(patience)
  roster.recall([pulse('w1', 900), pulse('w2', 5)])
  know(roster, [agent('w1'), agent('w2')], 0)
  assert.equal(roster.standing('w1')?.proven, false)
  roster.hear([pulse('w1', 900), pulse('w2', 6)], 1_000)
  assert.equal(roster.standing('w1')?.proven, false, 'the same beat read again')
  assert.equal(roster.standing('w2')?.proven, true)
  assert.equal(roster.standing('w2')?.host, 'host-w2')
})

test('a session that nobody knows yet is counted once, and its agent is heard as soon as it is known', () => {
  const roster = rosterOf('w1')
  assert.equal(roster.hear([pulse('new', 1)], 1_000), 1)
  assert.equal(roster.hear([pulse('new', 2)], 1_500), 0)
  know(roster, [agent('w1'), agent('new')], 2_000)
  assert.equal(roster.standing('new')?.proven, true)
})

test('a beat of a session without a conversation counts for as long as it is fresh', () => {
  const isHeard = (wait: (roster: Roster) => number): boolean => {
    const roster = rosterOf('w1')
    roster.hear([pulse('w2', 1)], 1_000)
    know(roster, [agent('w1'), agent('w2')], wait(roster))
    return roster.standing('w2')?.proven === true
  }
  assert.equal(
    isHeard(() => 1_000 + LATE - 1),
    true,
  )
  assert.equal(
    isHeard(() => 1_000 + LATE),
    false,
    'by then it would be late',
  )
  const pause = (roster: Roster): number => {
    roster.grace(1_001)
    return 1_002
  }
  assert.equal(isHeard(pause), false, 'it may be of before the pause')
})

test('grace: nobody is convicted for a full silence, and nobody is called back without a beat', () => {
  const roster = rosterOf('w1', 'w2', 'w3')
  roster.hear([pulse('w2', 1), pulse('w3', 1)], 30_000)
  roster.due(SILENT)
  roster.hear([pulse('w3', 2)], SILENT)
  roster.due(SILENT)
  assert.deepEqual(
    ['w1', 'w2', 'w3'].map((name) => roster.standing(name)?.verdict),
    ['silent', 'late', 'alive'],
  )
  roster.grace(600_000)
  assert.deepEqual(steps(roster.due(600_000)), ['w1 silent>late 600000'])
  assert.equal(roster.standing('w3')?.proven, false)
  assert.equal(roster.nextDeadline(), 600_000 + LATE)
  roster.hear([pulse('w3', 3)], 605_000)
  assert.deepEqual(steps(roster.due(600_000 + SILENT - 1)), [`w3 alive>late ${605_000 + LATE}`])
  assert.deepEqual(steps(roster.due(600_000 + SILENT)).sort(), [
    `w1 late>silent ${600_000 + SILENT}`,
    `w2 late>silent ${600_000 + SILENT}`,
  ])
})

test('whoever was convicted before a restart is late until heard, and stays out of the count of mass silence', () => {
  const roster = rosterOf(...names(9))
  roster.recall(names(9).map((name) => pulse(name, 0)))
  for (const name of names(5)) roster.suspect(name, 0)
  assert.deepEqual(roster.tally, { count: 4, unheard: 0, lost: 0 })
  assert.equal(roster.standing('w1')?.verdict, 'late')
  roster.hear([pulse('w1', 1)], 5_000)
  assert.deepEqual(roster.tally, { count: 5, unheard: 0, lost: 0 })
  assert.equal(roster.hasIncident('w1'), false)
  assert.equal(roster.hasIncident('w2'), true)
})

test('mass silence: 55 % and at least three, two of three or fewer, already at the first conviction', () => {
  const isMass = (dead: number, of: number): boolean => {
    const roster = rosterOf(...names(of))
    let seq = 0
    for (let now = 0; now <= SILENT; now += 5_000) {
      seq += 1
      // the dead fell silent one after the other, within one beat of 5 s
      const beating = names(of).filter((_, index) => index >= dead || now <= 0)
      roster.hear(
        beating.map((name) => pulse(name, seq)),
        now,
      )
      roster.due(now)
    }
    assert.equal(roster.counts.silent, dead)
    return roster.massSilence
  }
  const verdicts = [
    [1, 1, false],
    [1, 2, false],
    [2, 2, true],
    [1, 3, false],
    [2, 3, true],
    [2, 4, false],
    [3, 4, true],
    [3, 5, true],
    [3, 6, false],
    [4, 9, false],
    [5, 9, true],
    [9, 9, true],
    [10, 20, false],
    [11, 20, true],
  ] as const
  for (const [dead, of, mass] of verdicts) assert.equal(isMass(dead, of), mass, `${dead} of ${of}`)
})

test('the first conviction of a mass silence finds it out though the others are only late', () => {
  const roster = rosterOf(...names(9))
  for (const [index, name] of names(9).entries()) roster.hear([pulse(name, 1)], index * 500)
  const changes = roster.due(SILENT)
  assert.equal(changes.filter(({ to }) => to === 'silent').length, 1)
  assert.equal(roster.massSilence, true)
})

test('silences further apart than one window are single failures, once an incident tells of each', () => {
  const roster = rosterOf(...names(9))
  const ends = new Map(names(6).map((name, index) => [name, 70_000 * (index + 1)]))
  let seq = 0
  for (let now = 0; now <= 600_000; now += 5_000) {
    seq += 1
    roster.hear(
      names(9)
        .filter((name) => now <= (ends.get(name) ?? Number.POSITIVE_INFINITY))
        .map((name) => pulse(name, seq)),
      now,
    )
    for (const { agent, to } of roster.due(now)) if (to === 'silent') roster.noteIncident(agent, now)
    assert.equal(roster.massSilence, false, `at ${now}`)
  }
  assert.deepEqual(roster.counts, { new: 0, alive: 3, late: 0, silent: 6, gone: 0 })
  assert.deepEqual(roster.tally, { count: 3, unheard: 0, lost: 0 })
})

test('those silenced together keep the brake on until enough are heard again, however long it takes', () => {
  const roster = rosterOf(...names(9))
  let seq = 0
  const hear = (heard: readonly string[], from: number, to: number): void => {
    for (let now = from; now <= to; now += 5_000) {
      seq += 1
      roster.hear(
        heard.map((name) => pulse(name, seq)),
        now,
      )
      roster.due(now)
    }
  }
  hear(names(9), 0, 10_000)
  hear(['w6', 'w7', 'w8', 'w9'], 15_000, 7_200_000)
  assert.equal(roster.massSilence, true)
  hear(['w5', 'w6', 'w7', 'w8', 'w9'], 7_205_000, 7_205_000)
  assert.equal(roster.massSilence, false)
})

test('foreign agents that never beat do not count in mass silence, whatever there was of them before', () => {
  const roster = new Roster(patience)
  const foreign = names(12).map((name) => agent(sessionOf(name)))
  const strangers = foreign.map(({ name }) => ({ name, role: 'x', sessions: [name as SessionId] }))
  know(roster, [agent('a1'), agent('a2'), agent('a3'), ...strangers], 0)
  roster.recall(names(12).map((name) => pulse(name, 0, { incarnation: FOREIGN_INCARNATION })))
  for (let now = 0; now <= SILENT; now += 5_000) {
    roster.hear([pulse('a1', now), pulse('a2', now), pulse('a3', now)], now)
  }
  roster.due(SILENT)
  assert.deepEqual(roster.counts, { new: 12, alive: 3, late: 0, silent: 0, gone: 0 })
  assert.equal(roster.massSilence, false)
  roster.hear([pulse('w1', 1)], SILENT + 1)
  assert.deepEqual(roster.tally, { count: 4, unheard: 0, lost: 0 }, 'one that did beat counts')
})

test('who was never heard is new and not lost, until it is heard, or known to be dead', () => {
  const roster = rosterOf('w1', 'w2', 'w3')
  roster.due(10 * SILENT)
  assert.deepEqual(roster.counts, { new: 3, alive: 0, late: 0, silent: 0, gone: 0 })
  assert.deepEqual([roster.massSilence, roster.tally], [false, { count: 0, unheard: 0, lost: 0 }])
  roster.hear([pulse('w1', 1)], 10 * SILENT)
  roster.declareGone('w2', 10 * SILENT)
  assert.deepEqual(roster.counts, { new: 1, alive: 1, late: 0, silent: 0, gone: 1 })
  assert.deepEqual(roster.tally, { count: 2, unheard: 1, lost: 1 })
})

test('who was heard before the observer came can be lost, in another conversation and by another name too', () => {
  const roster = rosterOf('w1')
  roster.recall([pulse('w1', 7)])
  know(roster, [agent('w2', sessionOf('w1'))], 0)
  roster.due(SILENT)
  assert.deepEqual(roster.counts, { new: 0, alive: 0, late: 0, silent: 1, gone: 0 })
})

test('a beat of foreign hands counts for a full silence more: they beat so seldom', () => {
  const roster = rosterOf('w1', 'w2')
  roster.hear([pulse('w1', 1, { incarnation: FOREIGN_INCARNATION })], 1_000)
  roster.hear([pulse('w2', 1)], 2_000)
  assert.deepEqual(steps(roster.due(2 * SILENT)), [
    `w2 alive>late ${2_000 + LATE}`,
    `w1 alive>late ${1_000 + SILENT + LATE}`,
    `w2 late>silent ${2_000 + SILENT}`,
  ])
  assert.deepEqual(steps(roster.due(3 * SILENT)), [`w1 late>silent ${1_000 + 2 * SILENT}`])
})

test('signs change with work and with a new life, not with beats', () => {
  const roster = rosterOf('w1')
  roster.hear([pulse('w1', 1)], 0)
  const signs = (): number => roster.standing('w1')?.signs ?? -1
  const first = signs()
  roster.hear([pulse('w1', 2)], 1)
  assert.equal(signs(), first)
  roster.hear([pulse('w1', 3, { work: 1 })], 2)
  assert.notEqual(signs(), first)
  const second = signs()
  roster.hear([pulse('w1', 4)], 3)
  assert.equal(signs(), second, 'a bridge that begins anew counts less')
  roster.hear([pulse('w1', 1, { incarnation: 'two' })], 4)
  assert.notEqual(signs(), second)
})

test('an observer blinked when it was away, or the wall clock jumped; not when it merely ran a little late', () => {
  const gap = (expectedMs: number, monotonicMs: number, wallMs = monotonicMs) =>
    detectPause({ expectedMs, monotonicMs, wallMs }, LATE)
  assert.equal(gap(250, 250), null)
  assert.equal(gap(250, 14_000), null)
  assert.equal(gap(250, 16_000), 'paused')
  assert.equal(gap(250, 250, 3_600_250), 'clock_jumped', 'suspended: the monotonic clock stood still')
  assert.equal(gap(250, 250, 250 - 3_600_000), 'clock_jumped', 'set back')
  assert.equal(gap(60_000, 60_100), null)
})

/** The rule told the slow way: one entry for each agent, gone through at every check. */
class Naive {
  readonly heard = new Map<string, number>()
  verdict(name: string, now: number): string {
    const wait = now - (this.heard.get(name) ?? 0)
    return wait >= SILENT ? 'silent' : wait >= LATE ? 'late' : 'alive'
  }
}

test('whatever happens, the roster thinks what the slow rule thinks', () => {
  const event = fc.oneof(
    fc.record({ kind: fc.constant('beat'), who: fc.nat(5), isForeign: fc.boolean() }),
    fc.record({ kind: fc.constant('wait'), ms: fc.nat(40_000) }),
    fc.record({ kind: fc.constant('check') }),
  )
  fc.assert(
    fc.property(fc.array(event, { maxLength: 120 }), (events) => {
      const roster = rosterOf(...names(6))
      roster.recall(names(6).map((name) => pulse(name, 0)))
      const naive = new Naive()
      let now = 0
      let seq = 0
      for (const each of events) {
        if ('ms' in each) now += each.ms
        else if ('who' in each) {
          seq += 1
          const name = names(6)[each.who] as string
          roster.due(now)
          roster.hear([pulse(name, seq, each.isForeign ? { incarnation: FOREIGN_INCARNATION } : {})], now)
          naive.heard.set(name, each.isForeign ? now + SILENT : now)
        }
        roster.due(now)
        const counts = { new: 0, alive: 0, late: 0, silent: 0, gone: 0 }
        for (const { agent, verdict } of roster.standings()) {
          counts[verdict] += 1
          assert.equal(verdict, naive.verdict(agent, now))
        }
        assert.deepEqual(roster.counts, counts)
        assert.ok(roster.nextDeadline() > now)
        const { count, unheard, lost } = roster.tally
        assert.deepEqual([count, unheard, lost], [6, counts.late + counts.silent, counts.silent])
      }
    }),
    { numRuns: 300 },
  )
})

test('a hundred thousand agents cost no more a beat or a check than nine', () => {
  const count = 100_000
  const roster = new Roster(patience)
  const everybody = names(count)
  know(
    roster,
    everybody.map((name) => agent(name)),
    0,
  )
  const begun = process.cpuUsage()
  for (let round = 1; round <= 3; round += 1) {
    const pulses = everybody.map((name) => pulse(name, round))
    for (let from = 0; from < count; from += 1_000) {
      roster.hear(pulses.slice(from, from + 1_000), round * 5_000 + from / 100)
      roster.due(round * 5_000 + from / 100)
      roster.nextDeadline()
    }
  }
  const { user } = process.cpuUsage(begun)
  // 300,000 beats: a second is many times what it takes, and far less than a scan at every check would
  assert.ok(user < 2_000_000, `${user} µs`)
  assert.equal(roster.counts.alive, count)
})

test('who is proved dead is gone at once; beats of the daemon that outlived it do not vouch for it, a new life does', () => {
  const roster = rosterOf('w1', 'w2')
  roster.hear([pulse('w1', 1)], 1_000)
  roster.declareGone('w1', 2_000)
  roster.declareGone('w1', 2_500)
  roster.declareGone('nobody', 2_500)
  assert.deepEqual(steps(roster.changes()), ['w1 alive>gone 2000'])
  assert.deepEqual(roster.counts, { new: 1, alive: 0, late: 0, silent: 0, gone: 1 })
  roster.hear([pulse('w1', 2)], 6_000)
  roster.hear([pulse('w1', 3, { work: 1 })], 11_000) // done before it died, told after
  assert.deepEqual(steps(roster.due(11_000)), [])
  roster.hear([pulse('w1', 1, { incarnation: 'two' })], 12_000)
  assert.deepEqual(steps(roster.due(12_000)), ['w1 gone>alive 12000'])
  assert.equal(roster.standing('w1')?.proven, true)
})

test('work that is shown long after a death proves that the agent lives', () => {
  const roster = rosterOf('w1')
  roster.hear([pulse('w1', 1)], 1_000)
  roster.declareGone('w1', 2_000)
  roster.hear([pulse('w1', 2)], 30_000)
  roster.hear([pulse('w1', 3, { work: 1 })], 35_000)
  assert.deepEqual(steps(roster.changes()), ['w1 alive>gone 2000', 'w1 gone>alive 35000'])
})

test('a new conversation of the same daemon does not raise the dead; one of a new daemon does', () => {
  const roster = rosterOf('w1')
  roster.hear([pulse('w1', 1)], 1_000)
  roster.declareGone('w1', 2_000)
  know(roster, [agent('w1', sessionOf('w1'), 'conv_new/b', 'conv_newer/b')], 3_000)
  roster.hear([pulse('w1', 1, { session: 'conv_new/b' })], 4_000)
  assert.equal(roster.standing('w1')?.verdict, 'gone')
  roster.hear([pulse('w1', 1, { session: 'conv_newer/b', incarnation: 'two' })], 5_000)
  assert.equal(roster.standing('w1')?.verdict, 'alive')
})

test('whose body lives again has a full silence to be heard, and gets no credit before', () => {
  const roster = rosterOf('w1')
  roster.hear([pulse('w1', 1)], 1_000)
  roster.declareGone('w1', 2_000)
  roster.due(500_000)
  roster.processRevived('w1', 500_000)
  assert.equal(roster.standing('w1')?.proven, false)
  assert.deepEqual(steps(roster.due(500_000)), ['w1 gone>alive 500000'])
  assert.deepEqual(steps(roster.due(500_000 + SILENT)), [
    `w1 alive>late ${500_000 + LATE}`,
    `w1 late>silent ${500_000 + SILENT}`,
  ])
})

test('those that are gone count as lost together, until they are told of one by one', () => {
  const roster = rosterOf(...names(6))
  roster.hear(
    names(6).map((name) => pulse(name, 1)),
    0,
  )
  for (const name of ['w1', 'w2', 'w3']) roster.declareGone(name, 1_000)
  assert.equal(roster.massSilence, false)
  roster.declareGone('w4', 1_100)
  assert.equal(roster.massSilence, true)
  assert.deepEqual(roster.tally, { count: 6, unheard: 4, lost: 4 })
  roster.processRevived('w4', 2_000)
  for (const name of ['w1', 'w2', 'w3']) roster.noteIncident(name, 2_000)
  assert.equal(roster.tally.count, 6)
  roster.hear([pulse('w4', 2), pulse('w5', 2), pulse('w6', 2)], 61_000)
  roster.due(61_000)
  assert.equal(roster.tally.count, 3, 'a silence window later they are old news')
})

test('after a pause of the observer a death is to be proved anew', () => {
  const roster = rosterOf('w1')
  roster.hear([pulse('w1', 1)], 1_000)
  roster.declareGone('w1', 2_000)
  roster.grace(600_000)
  assert.equal(roster.standing('w1')?.verdict, 'late')
  roster.declareGone('w1', 600_100)
  assert.deepEqual(steps(roster.changes()), ['w1 alive>gone 2000', 'w1 gone>late 600000', 'w1 late>gone 600100'])
})

test('an agent that was given another name, and another, is found by each that it had', () => {
  const roster = rosterOf('w1')
  const now = () => ['w1', 'w2', 'w3'].map((name) => roster.nameNow(name))
  know(roster, [agent('w2', sessionOf('w1'))], 0)
  assert.deepEqual(now(), ['w2', undefined, undefined])
  know(roster, [agent('w3', sessionOf('w1'))], 0)
  assert.deepEqual(now(), ['w3', 'w3', undefined])
  know(roster, [agent('w1', sessionOf('w1'))], 0)
  assert.deepEqual(now(), [undefined, 'w1', 'w1'])
})

test('no order of beats, deaths and returns breaks the counts', () => {
  const step = fc.record({
    who: fc.integer({ min: 0, max: 3 }),
    what: fc.constantFrom('beat', 'life', 'declareGone', 'processRevived', 'grace', 'suspect', 'noteIncident', 'wait'),
    after: fc.constantFrom(0, 4_000, 20_000, 70_000),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (history) => {
      const roster = rosterOf(...names(4))
      roster.recall(names(4).map((name) => pulse(name, 0)))
      let now = 0
      for (const [seq, { who, what, after }] of history.entries()) {
        now += after
        const name = names(4)[who] as string
        roster.due(now)
        if (what === 'beat') roster.hear([pulse(name, seq + 1)], now)
        else if (what === 'life') roster.hear([pulse(name, 1, { incarnation: `life ${seq}` })], now)
        else if (what === 'grace') roster.grace(now)
        else if (what !== 'wait') roster[what](name, now)
        roster.due(now)
        const verdicts = [...roster.standings()].map(({ verdict }) => verdict)
        const count = (...of: string[]): number => verdicts.filter((each) => of.includes(each)).length
        const { alive, late, silent, gone } = roster.counts
        assert.deepEqual(
          [alive, late, silent, gone],
          ['alive', 'late', 'silent', 'gone'].map((each) => count(each)),
        )
        assert.ok(roster.tally.lost <= count('silent', 'gone') && roster.tally.unheard <= 4 - count('alive'))
        if (what === 'declareGone') assert.equal(roster.standing(name)?.verdict, 'gone')
        if (what === 'life') assert.equal(roster.standing(name)?.verdict, 'alive')
        const waits = verdicts.some((each) => each === 'alive' || each === 'late')
        assert.equal(Number.isFinite(roster.nextDeadline()), waits)
      }
    }),
  )
})
