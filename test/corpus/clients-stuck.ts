import { Client, HOUR, holding, MINUTE, SECOND, SEEN, STALL, sitting } from './client-player.ts'
import type { Fleet } from './fleet-player.ts'
import { type Demand, may, must, type Situation } from './situation.ts'

/** Two looks at what has ended. */
const AT_ONCE = 2 * SECOND
const DONE = must('completed t', 0, 24 * HOUR)
const GONE = [
  must('told client_gone:w1', 0, AT_ONCE, /^the client of w1 on host-w1 has ended with t in hand/),
  must('moved t gone', 0, AT_ONCE),
  DONE,
]
/** It shows nothing after the 30 s that it has had its task, or since this moment. */
function stalled(since = -30 * SECOND): Demand[] {
  return [
    must('told task_stalled:t', since + STALL, since + STALL + SEEN),
    must('moved t stalled', since + 2 * STALL, since + 2 * STALL + SEEN),
    DONE,
  ]
}
const PARKED = must('told parked:w1', 0, SEEN)

async function goOn(fleet: Fleet, client: Client): Promise<void> {
  await client.worksFor(10 * MINUTE)
  await client.completes('t')
  await fleet.run(MINUTE)
}

export const STUCK_CLIENTS: readonly Situation[] = [
  sitting(
    'a client that is killed in the middle of a turn',
    'lost',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.dies()
      await fleet.run(10 * MINUTE)
    },
    GONE,
  ),
  sitting(
    'a client that is killed between two turns',
    'lost',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.idles()
      await fleet.run(5 * MINUTE)
      fleet.begin()
      await client.dies()
      await fleet.run(10 * MINUTE)
    },
    GONE,
  ),
  sitting(
    'a client that is killed a second after it took its task',
    'lost',
    async (fleet, client) => {
      await fleet.give('t', 'w1')
      await client.takes('t')
      await fleet.run(SECOND)
      fleet.begin()
      await client.dies()
      await fleet.run(10 * MINUTE)
    },
    GONE,
  ),
  sitting(
    'a client that is killed with two tasks in hand',
    'lost',
    async (fleet, client) => {
      await fleet.give('u', 'w1')
      await client.takes('u')
      await holding(fleet, client)
      await client.dies()
      await fleet.run(10 * MINUTE)
    },
    [
      must('told client_gone:w1', 0, AT_ONCE, /t, u in hand|u, t in hand/),
      must('moved t gone', 0, AT_ONCE),
      must('moved u gone', 0, AT_ONCE),
      DONE,
      must('completed u', 0, HOUR),
    ],
  ),
  sitting(
    'a client that is killed with a second task that it had not taken',
    'lost',
    async (fleet, client) => {
      await holding(fleet, client)
      await fleet.give('u', 'w1')
      await fleet.run(SECOND)
      fleet.begin()
      await client.dies()
      await fleet.run(10 * MINUTE)
    },
    [
      must('told client_gone:w1', 0, AT_ONCE, /t, u in hand/),
      must('moved t gone', 0, AT_ONCE),
      DONE,
      must('moved u gone', 0, AT_ONCE),
      must('completed u', 0, HOUR),
    ],
  ),
  sitting(
    'a client that is killed and started again after a while',
    'lost',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.dies()
      await fleet.run(MINUTE)
      await client.starts()
      await fleet.run(10 * MINUTE)
    },
    [...GONE, must('over client_gone:w1', MINUTE, MINUTE + SEEN, /^the client of w1 runs again/)],
  ),
  sitting(
    'a client that is killed and started again after five seconds',
    'lost',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.dies()
      await fleet.run(5 * SECOND)
      await client.starts()
      await fleet.run(10 * MINUTE)
    },
    GONE,
  ),
  sitting(
    'a client that is killed where no other agent is',
    'lost',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.dies()
      await fleet.run(10 * MINUTE)
      await client.starts()
      await fleet.run(MINUTE)
    },
    [must('told client_gone:w1', 0, AT_ONCE), must('told task_stranded:any', MINUTE, MINUTE + 3 * SEEN, /w1/)],
    { workers: {} },
  ),
  sitting(
    'a client that is killed while the watchdog is away',
    'lost',
    async (fleet, client) => {
      await holding(fleet, client)
      await fleet.watchdog.stop()
      await client.dies()
      await fleet.restartWatchdog(20 * SECOND)
      await fleet.run(10 * MINUTE)
    },
    [must('told client_gone:w1', 20 * SECOND, 30 * SECOND), must('moved t gone', 20 * SECOND, 30 * SECOND), DONE],
  ),
  sitting(
    'a client and its daemon that are killed together',
    'lost',
    async (fleet, client) => {
      await holding(fleet, client)
      fleet.stage.silence('w1')
      await client.dies()
      await fleet.run(10 * MINUTE)
    },
    [
      must('told silent:w1', 50 * SECOND, MINUTE + SEEN),
      must('moved t lease_lapsed', 40 * SECOND, MINUTE + SEEN),
      DONE,
    ],
  ),
  sitting(
    'three of six clients that are killed together',
    'lost',
    async (fleet, client) => {
      const others = [await Client.open(fleet, 'w4'), await Client.open(fleet, 'w5')]
      await holding(fleet, client)
      for (const each of [client, ...others]) await each.dies()
      await fleet.run(10 * MINUTE)
    },
    GONE,
    { clients: { w1: 'docs', w4: 'docs', w5: 'docs' } },
  ),
  sitting(
    'a client that is killed again and again',
    'lost',
    async (fleet, client) => {
      await holding(fleet, client)
      for (let times = 0; times < 5; times += 1) {
        await client.dies()
        await fleet.run(MINUTE)
        await client.starts()
        await fleet.run(MINUTE)
      }
    },
    GONE,
  ),
  sitting(
    'a client that is stopped in the middle of a turn while its daemon beats',
    'stuck',
    async (fleet, client) => {
      await holding(fleet, client)
      client.freezes()
      await fleet.run(2 * STALL + MINUTE)
    },
    stalled(),
  ),
  sitting(
    'a client that is stopped after an hour of work',
    'stuck',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.worksFor(HOUR)
      fleet.begin()
      client.freezes()
      await fleet.run(2 * STALL + MINUTE)
    },
    stalled(-5 * MINUTE),
  ),
  sitting(
    'a client that is stopped while it idles with a task in hand',
    'stuck',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.idles()
      client.freezes()
      await fleet.run(2 * STALL + MINUTE)
    },
    stalled(0),
  ),
  sitting(
    'a client that idles and has forgotten its task',
    'stuck',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.idles()
      await fleet.run(2 * STALL + MINUTE)
    },
    stalled(0),
  ),
  sitting(
    'a model that never answers',
    'stuck',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.works()
      await fleet.run(2 * STALL + MINUTE)
    },
    stalled(0),
  ),
  sitting(
    'a turn that ended without a hook',
    'stuck',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.worksFor(10 * MINUTE)
      fleet.begin()
      await fleet.run(2 * STALL + MINUTE)
    },
    stalled(-5 * MINUTE),
  ),
  sitting(
    'a client that is stopped for twenty minutes and goes on',
    'stuck',
    async (fleet, client) => {
      await holding(fleet, client)
      client.freezes()
      await fleet.run(20 * MINUTE)
      client.thaws()
      await goOn(fleet, client)
    },
    [
      must('told task_stalled:t', STALL - 30 * SECOND, STALL),
      must('over task_stalled:t', 20 * MINUTE, 20 * MINUTE + SEEN),
      DONE,
    ],
  ),
  sitting(
    'a client that is stopped for ten minutes and goes on',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      client.freezes()
      await fleet.run(10 * MINUTE)
      client.thaws()
      await goOn(fleet, client)
    },
    [DONE],
  ),
  sitting(
    'a client that is stopped, then killed',
    'stuck',
    async (fleet, client) => {
      await holding(fleet, client)
      client.freezes()
      await fleet.run(20 * MINUTE)
      await client.dies()
      await fleet.run(10 * MINUTE)
    },
    [
      must('told task_stalled:t', STALL - 30 * SECOND, STALL),
      must('told client_gone:w1', 20 * MINUTE, 20 * MINUTE + AT_ONCE),
      must('moved t gone', 20 * MINUTE, 20 * MINUTE + AT_ONCE),
      DONE,
    ],
  ),
  sitting(
    'a stopped client whose daemon is started again',
    'stuck',
    async (fleet, client) => {
      await holding(fleet, client)
      client.freezes()
      await fleet.run(10 * MINUTE)
      await client.restartsDaemon()
      await fleet.run(2 * STALL + MINUTE)
    },
    stalled(10 * MINUTE),
  ),
  sitting(
    'a stopped client that is watched by a new watchdog',
    'stuck',
    async (fleet, client) => {
      await holding(fleet, client)
      client.freezes()
      await fleet.run(10 * MINUTE)
      await fleet.restartWatchdog(MINUTE)
      await fleet.run(2 * STALL + 2 * MINUTE)
    },
    stalled(11 * MINUTE - SECOND),
  ),
  sitting(
    'a client that idles and never takes its task',
    'stuck',
    async (fleet) => {
      await fleet.give('t', 'w1')
      await fleet.run(10 * MINUTE)
    },
    [
      must('reminded t', 20 * SECOND, 40 * SECOND),
      must('moved t not_taken', 2 * MINUTE - SEEN, 2 * MINUTE + SEEN),
      may('told task_not_taken:w1'),
      DONE,
    ],
  ),
  sitting(
    'a stopped client that never takes its task',
    'stuck',
    async (fleet, client) => {
      client.freezes()
      await fleet.give('t', 'w1')
      await fleet.run(10 * MINUTE)
    },
    [must('moved t not_taken', 2 * MINUTE - SEEN, 2 * MINUTE + SEEN), may('told task_not_taken:w1'), DONE],
  ),
  sitting(
    'all clients that stand still together have a cause that they share',
    'stuck',
    async (fleet, client) => {
      const others = [await Client.open(fleet, 'w4'), await Client.open(fleet, 'w5')]
      await fleet.give('u', 'w4')
      await others[0]?.takes('u')
      await fleet.give('v', 'w5')
      await others[1]?.takes('v')
      await holding(fleet, client)
      await fleet.run(2 * STALL + MINUTE)
      for (const each of others) await each.works()
      await goOn(fleet, client)
    },
    [must('told task_stalled:many', STALL - MINUTE, STALL + SEEN), DONE],
    { clients: { w1: 'docs', w4: 'docs', w5: 'docs' }, workers: { w2: 'docs' } },
  ),
  sitting(
    'a daemon that is stopped beside a client at work',
    'lost',
    async (fleet, client) => {
      await holding(fleet, client)
      fleet.stage.silence('w1')
      await fleet.run(10 * MINUTE)
      fleet.stage.heal('w1')
      await client.idles()
      await fleet.run(MINUTE)
    },
    [
      must('told silent:w1', 50 * SECOND, MINUTE + SEEN),
      must('moved t lease_lapsed', 40 * SECOND, MINUTE + SEEN),
      DONE,
    ],
  ),
  sitting(
    'a limit of half an hour with nothing in hand',
    'parked',
    async (fleet, client) => {
      await client.isLimited(30 * MINUTE)
      await fleet.run(29 * MINUTE)
      await client.works()
      await fleet.run(MINUTE)
    },
    [PARKED, must('over parked:w1', 29 * MINUTE, 30 * MINUTE)],
  ),
  sitting(
    'a limit of five hours with a task in hand',
    'parked',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.isLimited(5 * HOUR)
      await fleet.run(HOUR)
    },
    [PARKED, must('moved t stalled', 2 * STALL, 2 * STALL + SEEN), DONE],
  ),
  sitting(
    'a limit of ten minutes with a task in hand',
    'parked',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.isLimited(10 * MINUTE)
      await fleet.run(10 * MINUTE)
      await goOn(fleet, client)
    },
    [PARKED, DONE],
  ),
  sitting(
    'a limit with a task that is not begun',
    'parked',
    async (fleet, client) => {
      await client.isLimited(5 * HOUR)
      await fleet.run(SEEN)
      await fleet.give('t', 'w1')
      await fleet.run(10 * MINUTE)
    },
    [PARKED, must('moved t holder_sick', 0, 2 * SEEN), DONE],
  ),
  sitting(
    'a limit of which nobody knows until when',
    'parked',
    async (fleet, client) => {
      await client.isLimited(null)
      await fleet.run(2 * HOUR)
      await client.works()
      await fleet.run(MINUTE)
    },
    [PARKED, must('over parked:w1', 2 * HOUR, 2 * HOUR + MINUTE)],
  ),
  sitting(
    'a limit that ends: one task shows it',
    'parked',
    async (fleet, client) => {
      await client.isLimited(10 * MINUTE)
      await fleet.run(11 * MINUTE)
      await fleet.give('t', 'w1')
      await fleet.run(5 * SECOND)
      await client.takes('t')
      await goOn(fleet, client)
    },
    [PARKED, must('over parked:w1', 11 * MINUTE, 12 * MINUTE), DONE],
  ),
  sitting(
    'a limit that is said by an s2 work and by the client beside it',
    'parked',
    async (fleet, client) => {
      await client.isLimited(HOUR)
      await fleet.run(SECOND)
      await fleet.witness.store.noteCondition(client.session, {
        state: 'parked',
        why: 'usage limit',
        until: fleet.at(HOUR),
      })
      await fleet.run(30 * MINUTE)
      await fleet.witness.store.noteCondition(client.session, null)
      await client.works()
      await fleet.run(MINUTE)
    },
    [
      PARKED,
      must('place parked', 0, MINUTE),
      must('place well', 0, HOUR),
      must('over parked:w1', 30 * MINUTE, 31 * MINUTE),
    ],
  ),
  sitting(
    'a login that has ended',
    'parked',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.isLoggedOut()
      await fleet.run(10 * MINUTE)
      await goOn(fleet, client)
    },
    [must('told parked:w1', 0, SEEN, /log in/), DONE],
  ),
  sitting(
    'a login that has ended, with a task that is not begun',
    'parked',
    async (fleet, client) => {
      await client.isLoggedOut()
      await fleet.run(SEEN)
      await fleet.give('t', 'w1')
      await fleet.run(10 * MINUTE)
    },
    [must('told parked:w1', 0, SEEN), must('moved t holder_sick', 0, 2 * SEEN), DONE],
  ),
  sitting(
    'a service that refuses for an hour',
    'parked',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.isOverloaded()
      await fleet.run(HOUR)
    },
    [
      must('told parked:w1', 2 * MINUTE, 2 * MINUTE + SEEN, /529/),
      must('moved t stalled', 2 * STALL, 2 * STALL + SEEN),
      DONE,
    ],
  ),
  sitting(
    'a service that refuses all of them',
    'parked',
    async (fleet, client) => {
      const others = [await Client.open(fleet, 'w4'), await Client.open(fleet, 'w5')]
      await fleet.give('u', 'w4')
      await others[0]?.takes('u')
      await fleet.give('v', 'w5')
      await others[1]?.takes('v')
      await holding(fleet, client)
      for (const each of [client, ...others]) await each.isOverloaded()
      await fleet.run(HOUR)
      for (const each of others) await each.works()
      await goOn(fleet, client)
    },
    [
      must('told parked:w1', 2 * MINUTE, 2 * MINUTE + SEEN),
      must('told parked:w4', 0, HOUR),
      must('told parked:w5', 0, HOUR),
      DONE,
    ],
    { clients: { w1: 'docs', w4: 'docs', w5: 'docs' }, workers: { w2: 'docs' } },
  ),
]
