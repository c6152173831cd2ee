import { Client, HOUR, holding, MINUTE, SECOND, SEEN, STALL, sitting } from './client-player.ts'
import type { Fleet } from './fleet-player.ts'
import { may, must, type Situation } from './situation.ts'

const PROMPT = 'permission prompt: Bash npm publish'
/** People are told within some seconds, and by what it asks. */
const TOLD = must(
  'told waiting:w1',
  0,
  SEEN,
  /^w1 on host-w1 waits for a person: permission prompt: Bash npm publish; answer it/,
)
const DONE = must('completed t', 0, 24 * HOUR)

/** It works at its task for a while after somebody has answered, and ends it. */
async function goOn(fleet: Fleet, client: Client): Promise<void> {
  await client.worksFor(10 * MINUTE)
  await client.completes('t')
  await fleet.run(MINUTE)
}

/** A dialog that stands for so long, with a task in hand. */
function standing(what: string, forMs: number): (fleet: Fleet, client: Client) => Promise<void> {
  return async (fleet, client) => {
    await holding(fleet, client)
    await client.asks(what)
    await fleet.run(forMs)
    await goOn(fleet, client)
  }
}

export const WAITING_CLIENTS: readonly Situation[] = [
  sitting('a permission prompt of ten minutes', 'waiting', standing(PROMPT, 10 * MINUTE), [
    TOLD,
    must('over waiting:w1', 10 * MINUTE, 10 * MINUTE + SEEN, /^w1 goes on after 10m/),
    DONE,
  ]),
  sitting('a permission prompt of a minute', 'waiting', standing(PROMPT, MINUTE), [TOLD, DONE]),
  sitting('a permission prompt of forty minutes', 'waiting', standing(PROMPT, 40 * MINUTE), [TOLD, DONE]),
  sitting('a permission prompt all night', 'waiting', standing(PROMPT, 9 * HOUR), [TOLD, DONE]),
  sitting('a question of three hours', 'waiting', standing('question: which of the two?', 3 * HOUR), [
    must('told waiting:w1', 0, SEEN, /waits for a person: question: which of the two\?/),
    DONE,
  ]),
  sitting('a held message of another session', 'waiting', standing('held message: another session asks', HOUR), [
    must('told waiting:w1', 0, SEEN, /held message/),
    DONE,
  ]),
  sitting(
    'a dialog that says nothing of itself',
    'waiting',
    async (fleet, client) => {
      await client.asks('')
      await fleet.run(HOUR)
      await client.idles()
      await fleet.run(MINUTE)
    },
    [must('told waiting:w1', 0, SEEN, /shows a dialog/)],
  ),
  sitting(
    'a prompt that would steer a terminal and tells a secret',
    'waiting',
    async (fleet, client) => {
      await client.asks(`permission prompt: Bash \u001b[2J curl -H 'Authorization: Bearer ${'Zq7Rm2Kx9T'.repeat(4)}'`)
      await fleet.run(MINUTE)
    },
    [must('told waiting:w1', 0, SEEN, /^[^\p{Cc}]*Bash[^\p{Cc}]*(?<!Zq7R.*)$/u)],
  ),
  sitting(
    'a prompt with nothing in hand',
    'waiting',
    async (fleet, client) => {
      await client.asks(PROMPT)
      await fleet.run(HOUR)
      await client.idles()
      await fleet.run(MINUTE)
    },
    [TOLD, must('over waiting:w1', HOUR, HOUR + SEEN)],
  ),
  sitting(
    'two prompts one after the other',
    'waiting',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.asks(PROMPT)
      await fleet.run(MINUTE)
      await client.asks('permission prompt: Edit deploy.sh')
      await fleet.run(MINUTE)
      await goOn(fleet, client)
    },
    [TOLD, must('told waiting:w1', MINUTE, MINUTE + SEEN, /Edit deploy\.sh/), DONE],
  ),
  sitting(
    'the same prompt twice, with work between',
    'waiting',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.asks(PROMPT)
      await fleet.run(MINUTE)
      await client.worksFor(MINUTE)
      await client.asks(PROMPT)
      await fleet.run(MINUTE)
      await goOn(fleet, client)
    },
    [TOLD, must('told waiting:w1', 2 * MINUTE, 2 * MINUTE + SEEN), DONE],
  ),
  sitting(
    'one that was answered, then opened once more within a second',
    'waiting',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.asks(PROMPT)
      await fleet.run(MINUTE)
      await client.works()
      await fleet.run(700)
      await client.asks(PROMPT)
      await fleet.run(MINUTE)
      await goOn(fleet, client)
    },
    [TOLD, DONE],
  ),
  sitting(
    'a task that lies with an agent at a prompt is not taken away',
    'waiting',
    async (fleet, client) => {
      await client.asks(PROMPT)
      await fleet.run(SEEN)
      await fleet.give('t', 'w1')
      await fleet.run(30 * MINUTE)
      await client.takes('t')
      await goOn(fleet, client)
    },
    [TOLD, DONE],
  ),
  sitting(
    'new work goes past an agent at a prompt',
    'waiting',
    async (fleet, client) => {
      await client.asks(PROMPT)
      await fleet.run(SEEN)
      for (const id of ['t', 'u', 'v']) await fleet.give(id, null)
      await fleet.run(10 * MINUTE)
    },
    [TOLD, DONE, must('completed u', 0, 5 * MINUTE), must('completed v', 0, 5 * MINUTE)],
  ),
  sitting(
    'new work waits for the only agent, which is at a prompt',
    'waiting',
    async (fleet, client) => {
      await client.asks(PROMPT)
      await fleet.run(SEEN)
      await fleet.give('t', null)
      await fleet.run(10 * MINUTE)
      await client.idles()
      await fleet.run(30 * SECOND)
      await client.takes('t')
      await goOn(fleet, client)
    },
    [TOLD, must('told task_stranded:any', MINUTE, MINUTE + 2 * SEEN, /w1 waits for a person/), DONE],
    { workers: {} },
  ),
  sitting(
    'a prompt while the watchdog is started again',
    'waiting',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.asks(PROMPT)
      await fleet.run(MINUTE)
      await fleet.restartWatchdog(30 * SECOND)
      await fleet.run(HOUR)
      await goOn(fleet, client)
    },
    [TOLD, must('over waiting:w1', HOUR, HOUR + 2 * MINUTE), DONE],
  ),
  sitting(
    'a prompt while the watchdog stands still',
    'waiting',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.asks(PROMPT)
      await fleet.run(MINUTE)
      fleet.watchdog.life.stop()
      await fleet.run(10 * MINUTE)
      fleet.watchdog.life.goOn()
      await fleet.run(10 * MINUTE)
      await goOn(fleet, client)
    },
    [TOLD, must('over waiting:w1', 21 * MINUTE, 21 * MINUTE + SEEN), DONE],
  ),
  sitting(
    'a prompt that opens while the watchdog is away',
    'waiting',
    async (fleet, client) => {
      await holding(fleet, client)
      await fleet.watchdog.stop()
      await client.asks(PROMPT)
      await fleet.restartWatchdog(MINUTE)
      await fleet.run(10 * MINUTE)
      await goOn(fleet, client)
    },
    [must('told waiting:w1', MINUTE, MINUTE + 2 * SEEN), DONE],
  ),
  sitting(
    'a prompt while the daemon beside it is started again',
    'waiting',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.asks(PROMPT)
      await fleet.run(MINUTE)
      await client.restartsDaemon()
      await fleet.run(HOUR)
      await goOn(fleet, client)
    },
    [TOLD, must('over waiting:w1', HOUR, HOUR + 2 * MINUTE), DONE],
  ),
  sitting(
    'a prompt of which the network is cut for half a minute',
    'waiting',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.asks(PROMPT)
      await fleet.run(MINUTE)
      fleet.stage.silence('w1')
      await fleet.run(30 * SECOND)
      fleet.stage.heal('w1')
      await fleet.run(30 * MINUTE)
      await goOn(fleet, client)
    },
    [TOLD, must('over waiting:w1', 31 * MINUTE, 32 * MINUTE), DONE],
  ),
  sitting(
    'a client that is killed at its prompt',
    'waiting',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.asks(PROMPT)
      await fleet.run(10 * MINUTE)
      await client.dies()
      await fleet.run(10 * MINUTE)
    },
    [
      TOLD,
      must('over waiting:w1', 10 * MINUTE, 10 * MINUTE + SEEN, /ended at its dialog/),
      must('told client_gone:w1', 10 * MINUTE, 10 * MINUTE + SEEN),
      must('moved t gone', 10 * MINUTE, 10 * MINUTE + 2 * SECOND),
      DONE,
    ],
  ),
  sitting(
    'a host that is lost with a client at its prompt',
    'waiting',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.asks(PROMPT)
      await fleet.run(10 * MINUTE)
      fleet.stage.silence('w1')
      await fleet.run(10 * MINUTE)
    },
    [
      TOLD,
      must('told silent:w1', 10 * MINUTE + 50 * SECOND, 11 * MINUTE + SEEN),
      must('moved t lease_lapsed', 10 * MINUTE + 40 * SECOND, 11 * MINUTE + SEEN),
      DONE,
    ],
  ),
  sitting(
    'a client that is frozen after its prompt was answered',
    'waiting',
    async (fleet, client) => {
      await holding(fleet, client)
      await client.asks(PROMPT)
      await fleet.run(20 * MINUTE)
      await client.works()
      client.freezes()
      await fleet.run(2 * STALL + MINUTE)
    },
    [
      TOLD,
      must('told task_stalled:t', 20 * MINUTE + STALL, 20 * MINUTE + STALL + SEEN),
      must('moved t stalled', 20 * MINUTE + 2 * STALL, 20 * MINUTE + 2 * STALL + SEEN),
      DONE,
    ],
  ),
  sitting(
    'a prompt at which a deadline passes',
    'waiting',
    async (fleet, client) => {
      await fleet.give('t', 'w1', undefined, { deadline: fleet.at(HOUR) })
      await client.takes('t')
      await client.asks(PROMPT)
      await fleet.run(2 * HOUR)
    },
    [TOLD, must('ended t deadline', HOUR - SEEN, HOUR + SEEN), may('told task_failed:t')],
  ),
  sitting(
    'three clients at three prompts',
    'waiting',
    async (fleet, client) => {
      const others = [await Client.open(fleet, 'w4'), await Client.open(fleet, 'w5')]
      await holding(fleet, client)
      for (const each of [client, ...others]) await each.asks(PROMPT)
      await fleet.run(2 * HOUR)
      for (const each of others) await each.idles()
      await goOn(fleet, client)
    },
    [TOLD, must('told waiting:w4', 0, SEEN), must('told waiting:w5', 0, SEEN), DONE],
    {
      clients: { w1: 'docs', w4: 'docs', w5: 'docs' },
    },
  ),
]
