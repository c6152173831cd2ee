import { beside, Client, HOUR, holding, MINUTE, SECOND, sitting } from './client-player.ts'
import type { Fleet } from './fleet-player.ts'
import { may, must, type Situation } from './situation.ts'

const DONE = [must('completed t', 0, 4 * HOUR)]

/** Does something again and again. */
async function repeat(times: number, act: (time: number) => Promise<void>): Promise<void> {
  for (let time = 0; time < times; time += 1) await act(time)
}

/** It goes on for some minutes, and ends its task. */
async function finish(fleet: Fleet, client: Client): Promise<void> {
  await client.worksFor(20 * MINUTE)
  await client.completes('t')
  await fleet.run(MINUTE)
}

export const HEALTHY_CLIENTS: readonly Situation[] = [
  sitting(
    'a turn of three hours with a tool every ten minutes',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.worksFor(3 * HOUR, 10 * MINUTE)
      await client.completes('t')
    },
    DONE,
  ),
  sitting(
    'a model that thinks for fourteen minutes between two tools',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.worksFor(56 * MINUTE, 14 * MINUTE)
      await client.completes('t')
    },
    DONE,
  ),
  sitting(
    'short turns with pauses between them, and nothing to do for S2',
    'healthy',
    async (fleet, client) => {
      await repeat(40, async () => {
        await client.worksFor(MINUTE, 20 * SECOND)
        await client.idles()
        await fleet.run(2 * MINUTE)
      })
    },
    [],
  ),
  sitting('a client that idles all night', 'healthy', async (fleet) => await fleet.run(10 * HOUR), []),
  sitting(
    'a turn of hours that is none of S2’s business',
    'healthy',
    async (fleet, client) => {
      await client.works()
      await fleet.run(3 * HOUR)
    },
    [],
  ),
  sitting(
    'a prompt that is answered within a second',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.asks('permission prompt: Bash npm test')
      await fleet.run(SECOND)
      await finish(fleet, client)
    },
    DONE,
  ),
  sitting(
    'twenty prompts, each answered at once',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      await repeat(20, async (time) => {
        await client.asks(`permission prompt: Edit file-${time}.ts`)
        await fleet.run(1_200)
        await client.worksFor(31_700, 10 * SECOND)
      })
      await finish(fleet, client)
    },
    DONE,
  ),
  sitting(
    'a client that is started again within a second',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.flickers(800)
      await finish(fleet, client)
    },
    DONE,
  ),
  sitting(
    'a client that is taken for gone three times, each for less than a second',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      await repeat(3, async () => {
        await client.flickers(900)
        await client.worksFor(MINUTE)
      })
      await finish(fleet, client)
    },
    DONE,
  ),
  sitting(
    'a daemon that is started again beside a client at work',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.worksFor(10 * MINUTE)
      await client.restartsDaemon()
      await finish(fleet, client)
    },
    DONE,
  ),
  sitting(
    'a daemon that is started again ten times',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      await repeat(10, async () => {
        await client.restartsDaemon()
        await client.worksFor(MINUTE)
      })
      await finish(fleet, client)
    },
    DONE,
  ),
  sitting(
    'a service that refuses for half a minute',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.isOverloaded()
      await fleet.run(30 * SECOND)
      await finish(fleet, client)
    },
    DONE,
  ),
  sitting(
    'a service that refuses for nearly two minutes',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.isOverloaded()
      await fleet.run(110 * SECOND)
      await finish(fleet, client)
    },
    DONE,
  ),
  sitting(
    'a limit that is none after a second',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.isLimited(5 * HOUR)
      await fleet.run(SECOND)
      await finish(fleet, client)
    },
    DONE,
  ),
  sitting(
    'a login that is renewed at once',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.isLoggedOut()
      await fleet.run(SECOND)
      await finish(fleet, client)
    },
    DONE,
  ),
  sitting(
    'turns that begin and end every second',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      await repeat(600, async (time) => {
        if (time % 2 === 0) await client.idles()
        else await client.works()
        await fleet.run(SECOND)
      })
      await finish(fleet, client)
    },
    DONE,
  ),
  sitting(
    'a tool every second',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      await repeat(300, async (time) => {
        await client.works(`Read file-${time}.ts`)
        await fleet.run(SECOND)
      })
      await finish(fleet, client)
    },
    DONE,
  ),
  sitting(
    'a client that is closed with nothing in hand',
    'healthy',
    async (fleet, client) => {
      await fleet.run(MINUTE)
      await client.exits()
      await fleet.run(HOUR)
    },
    [],
  ),
  sitting(
    'a client that is killed with nothing in hand',
    'healthy',
    async (fleet, client) => {
      await fleet.run(MINUTE)
      await client.dies()
      await fleet.run(HOUR)
    },
    [],
  ),
  sitting(
    'nine clients that are closed one evening',
    'healthy',
    async (fleet) => {
      await repeat(9, async (time) => {
        const client = await Client.open(fleet, `w${time + 1}`)
        await fleet.run(3 * SECOND)
        await client.dies()
      })
      await fleet.give('t', null)
      await fleet.run(HOUR)
    },
    [must('completed t', 0, 2 * MINUTE)],
    {
      workers: { d1: 'docs', d2: 'docs' },
      clients: Object.fromEntries(Array.from({ length: 9 }, (_, index) => [`w${index + 1}`, 'docs'])),
    },
  ),
  sitting(
    'a watchdog that is started again while a client works',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      await fleet.restartWatchdog(20 * SECOND)
      await finish(fleet, client)
    },
    DONE,
  ),
  sitting(
    'a watchdog that stood still while a client was killed and came back',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      fleet.watchdog.life.stop()
      await fleet.run(MINUTE)
      await client.flickers(20 * SECOND)
      await client.worksFor(2 * MINUTE)
      fleet.watchdog.life.goOn()
      await finish(fleet, client)
    },
    DONE,
  ),
  sitting(
    'a host without a network for twenty seconds while its client works',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      fleet.stage.silence('w1')
      await fleet.run(20 * SECOND)
      fleet.stage.heal('w1')
      await finish(fleet, client)
    },
    DONE,
  ),
  sitting(
    'a host that says nothing of clients any more',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.isForgotten()
      await fleet.run(2 * HOUR)
      await client.completes('t')
    },
    DONE,
  ),
  beside(
    'an s2 work beside a client that was killed',
    async (fleet, client) => {
      await fleet.give('t', 'w2', { lastsMs: 40 * MINUTE })
      await fleet.run(MINUTE)
      fleet.begin()
      await client.dies()
      await fleet.run(HOUR)
    },
    DONE,
  ),
  beside(
    'an idle s2 work beside a client that was killed gets its task',
    async (fleet, client) => {
      await client.dies()
      await fleet.run(MINUTE)
      fleet.begin()
      await fleet.give('t', 'w2')
      await fleet.run(10 * MINUTE)
    },
    [must('begun t', 0, SECOND), must('completed t', 0, MINUTE)],
  ),
  beside(
    'the only s2 work, whose client was killed, gets new work all the same',
    async (fleet, client) => {
      await client.dies()
      await fleet.run(MINUTE)
      fleet.begin()
      await fleet.give('t', null)
      await fleet.run(10 * MINUTE)
    },
    [must('completed t', 0, MINUTE)],
  ),
  beside(
    'an s2 work that is in the middle of a silent step while its client idles',
    async (fleet) => {
      await fleet.give('t', 'w2', { lastsMs: 40 * MINUTE })
      await fleet.run(HOUR)
    },
    DONE,
  ),
  sitting(
    'a shell with a task beside a client that was killed',
    'healthy',
    async (fleet, client) => {
      client.usesShell()
      await holding(fleet, client)
      await client.dies()
      await fleet.run(10 * MINUTE)
      await client.starts()
      await client.completes('t')
    },
    DONE,
  ),
  sitting(
    'an agent whose client is closed gets work only where no other is',
    'healthy',
    async (fleet, client) => {
      await client.exits()
      await fleet.run(MINUTE)
      for (const id of ['t', 'u', 'v', 'x', 'y']) await fleet.give(id, null)
      await fleet.run(10 * MINUTE)
    },
    [...DONE, ...['u', 'v', 'x', 'y'].map((id) => must(`completed ${id}`, 0, 5 * MINUTE))],
  ),
  sitting(
    'a client that is closed, and resumed for its task',
    'healthy',
    async (fleet, client) => {
      await client.exits()
      await fleet.run(MINUTE)
      await fleet.give('t', 'w1')
      await fleet.run(MINUTE)
      await client.starts()
      await client.takes('t')
      await finish(fleet, client)
    },
    [...DONE, may('reminded t')],
  ),
  beside(
    'a client that an s2 work starts for each task and that ends with it',
    async (fleet, client) => {
      for (let time = 0; time < 5; time += 1) {
        await client.starts()
        await fleet.give(`t${time}`, 'w2', { lastsMs: 3 * MINUTE })
        await client.worksFor(3 * MINUTE + SECOND, MINUTE)
        await client.exits()
        await fleet.run(2 * MINUTE)
      }
    },
    [0, 1, 2, 3, 4].map((time) => must(`completed t${time}`, 0, HOUR)),
  ),
  sitting(
    'a task of twelve minutes beside an s2 work at a limit of its own',
    'healthy',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.worksFor(12 * MINUTE)
      await client.completes('t')
    },
    DONE,
  ),
  sitting(
    'an agent that does its three tasks one after the other',
    'healthy',
    async (fleet, client) => {
      for (const id of ['t', 'u', 'v']) {
        await fleet.give(id, 'w1')
        await client.takes(id)
        await client.worksFor(4 * MINUTE)
        await client.completes(id)
        await fleet.run(30 * SECOND)
      }
    },
    [...DONE, must('completed u', 0, HOUR), must('completed v', 0, HOUR)],
  ),
  sitting(
    'an agent that takes a task a minute after it came',
    'healthy',
    async (fleet, client) => {
      await fleet.give('t', 'w1')
      await fleet.run(MINUTE)
      await client.takes('t')
      await finish(fleet, client)
    },
    [...DONE, may('reminded t')],
  ),
]
