/** Fleets whose hosts sleep, die, lose their network or their clock, and whose agents hang, are lived twice, or have nobody to work. */
import { BEAT, CONFIG, Supervisor } from '../watchdog/stage.ts'
import { type Fleet, fleet, type Job } from './fleet-player.ts'
import { type Demand, may, must, type Situation } from './situation.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const { silentAfterMs: SILENT, lateAfterMs: LATE, leaseMs: LEASE } = CONFIG
const TAKE = 2 * MINUTE
const STALL = 15 * MINUTE
/** Two looks at the tasks. */
const LOOK = 2 * SECOND

const THREE = { w1: 'docs', w2: 'docs', w3: 'docs' }
const LONG: Job = { lastsMs: 40 * MINUTE }
const HUNG: Job = { lastsMs: Number.POSITIVE_INFINITY, line: 'Continue? [y/N]' }

/** People are told of a lost agent, and its task is another's, within a silence from its last beat. */
function toldAndMoved(verdict: 'silent' | 'gone', from: number, to: number): Demand[] {
  return [must(`told ${verdict}:w1`, from, to), must(`moved t ${verdict}`, from, to)]
}

const SILENCE: readonly [number, number] = [SILENT - BEAT, SILENT + LOOK]

/** Its former owner is told that the task is another's, and its late result is refused. */
const RETURNS = [may('stopping t lease_lost'), may('stopping t lease_unsure'), may('refused t')]

/** A task that w1 has worked at for a minute. */
async function working(stage: Fleet, job: Job = LONG): Promise<void> {
  await stage.give('t', 'w1', job)
  await stage.run(MINUTE)
  stage.begin()
}

/** Does something again and again, for so long. */
async function repeat(stage: Fleet, ms: number, stepMs: number, act: (step: number) => void): Promise<void> {
  for (let step = 0; step * stepMs < ms; step += 1) {
    act(step)
    await stage.run(stepMs)
  }
}

export const FLEETS: readonly Situation[] = [
  fleet(
    'a laptop that sleeps for eight hours with a task',
    'lost',
    {
      workers: THREE,
      tell: async (stage) => {
        await working(stage)
        stage.suspend('w1')
        await stage.run(8 * HOUR)
        stage.resume('w1')
        await stage.run(10 * MINUTE)
      },
    },
    [
      ...toldAndMoved('silent', ...SILENCE),
      must('completed t', 0, HOUR),
      must('over silent:w1', 8 * HOUR, 8 * HOUR + 2 * BEAT),
      ...RETURNS,
    ],
  ),
  fleet(
    'a host that is suspended for 20 s',
    'healthy',
    {
      workers: THREE,
      tell: async (stage) => {
        await working(stage)
        stage.suspend('w1')
        await stage.run(20 * SECOND)
        stage.resume('w1')
        await stage.run(HOUR)
      },
    },
    [must('completed t', 0, LONG.lastsMs)],
  ),
  fleet(
    'a host without a network for half an hour',
    'lost',
    {
      workers: THREE,
      tell: async (stage) => {
        await working(stage)
        stage.cut('w1')
        await stage.run(30 * MINUTE)
        stage.mend('w1')
        await stage.run(HOUR)
      },
    },
    [
      must('stopping t lease_unsure', 0, LEASE - BEAT),
      ...toldAndMoved('silent', ...SILENCE),
      must('completed t', 0, HOUR),
      ...RETURNS,
    ],
  ),
  fleet(
    'a daemon is dead for 20 min, and the agent beside it works and renews its lease',
    'healthy',
    {
      workers: THREE,
      tell: async (stage) => {
        await working(stage)
        stage.killDaemon('w1')
        await stage.run(20 * MINUTE)
        stage.startDaemon('w1')
        await stage.run(HOUR)
      },
    },
    [
      must('told silent:w1', ...SILENCE),
      must('over silent:w1', 20 * MINUTE, 20 * MINUTE + 2 * BEAT),
      must('completed t', 0, HOUR),
    ],
  ),
  fleet(
    'an agent is dead and its daemon beats: its task is not taken',
    'stuck',
    {
      workers: THREE,
      tell: async (stage) => {
        stage.kill('w1')
        await stage.give('t', 'w1')
        await stage.run(10 * MINUTE)
      },
    },
    [
      must('reminded t', 0, TAKE / 4 + LOOK),
      must('moved t not_taken', TAKE - LOOK, TAKE + LOOK),
      may('told task_not_taken:w1'),
      must('completed t', TAKE, 4 * MINUTE),
    ],
  ),
  fleet(
    'an agent is dead and its daemon beats: no other could take its task',
    'stuck',
    {
      workers: { w1: 'docs', w2: 'tests' },
      tell: async (stage) => {
        stage.kill('w1')
        await stage.give('t', 'w1', undefined, { role: 'docs' })
        await stage.run(HOUR)
        stage.start('w1')
        await stage.run(5 * MINUTE)
      },
    },
    [
      must('told task_not_taken:w1', TAKE - LOOK, TAKE + LOOK, /w1 on host-w1 beats and has not taken t/),
      must('completed t', HOUR, HOUR + 2 * MINUTE),
    ],
  ),
  fleet(
    'an agent dies in the middle of its task, and its daemon beats',
    'stuck',
    {
      workers: THREE,
      tell: async (stage) => {
        await working(stage)
        stage.kill('w1')
        await stage.run(HOUR)
      },
    },
    [must('moved t lease_lapsed', LEASE / 2, LEASE + LOOK), must('completed t', 0, HOUR)],
  ),
  fleet(
    'a command has ended, and its result stays in the outbox of a host that beats',
    'stuck',
    {
      workers: THREE,
      tell: async (stage) => {
        await stage.give('t', 'w1', { lastsMs: 2 * MINUTE })
        await stage.run(MINUTE)
        stage.blockOutbox('w1')
        stage.begin()
        await stage.run(HOUR)
      },
    },
    [
      must('told task_stalled:t', STALL, STALL + 2 * MINUTE),
      must('moved t stalled', 2 * STALL, 2 * STALL + 2 * MINUTE),
      must('completed t', 2 * STALL, HOUR),
    ],
  ),
  fleet(
    'an agent is frozen for five minutes, and its daemon beats',
    'stuck',
    {
      workers: THREE,
      tell: async (stage) => {
        await working(stage)
        stage.worker('w1').life.stop()
        await stage.run(5 * MINUTE)
        stage.worker('w1').life.goOn()
        await stage.run(HOUR)
      },
    },
    [must('moved t lease_lapsed', LEASE / 2, LEASE + LOOK), must('completed t', 0, HOUR), ...RETURNS],
  ),
  fleet(
    'an agent is started again in the middle of its task',
    'healthy',
    {
      workers: THREE,
      tell: async (stage) => {
        await working(stage)
        stage.kill('w1')
        await stage.run(10 * SECOND)
        stage.start('w1')
        await stage.run(HOUR)
      },
    },
    [must('interrupted t', 0, 10 * SECOND + LOOK), must('completed t', 0, HOUR)],
  ),
  fleet(
    'what an agent runs in has ended, and its supervisor says so',
    'lost',
    (() => {
      const supervisor = new Supervisor()
      return {
        workers: THREE,
        sources: [supervisor],
        tell: async (stage) => {
          supervisor.set('w1', 'living')
          await working(stage)
          stage.kill('w1')
          supervisor.set('w1', 'ended', { why: 'killed for want of memory' })
          await stage.run(HOUR)
        },
      }
    })(),
    [...toldAndMoved('gone', 0, SECOND), must('completed t', 0, HOUR)],
  ),
  fleet(
    'a supervisor does not answer for ten minutes, and its agents work',
    'healthy',
    (() => {
      const supervisor = new Supervisor()
      return {
        workers: THREE,
        sources: [supervisor],
        tell: async (stage) => {
          supervisor.set('w1', 'living')
          await working(stage)
          supervisor.isAway = true
          await stage.run(10 * MINUTE)
          supervisor.isAway = false
          await stage.run(HOUR)
        },
      }
    })(),
    [must('told supervisor_away:fake', LATE, LATE + 4 * BEAT), must('completed t', 0, LONG.lastsMs)],
  ),
  fleet(
    'twins: a second machine has the keys of the first, and beats as well',
    'lost',
    {
      workers: THREE,
      tell: async (stage) => {
        await working(stage)
        await beatBeside(stage, 'host-other', 10 * MINUTE)
        await stage.run(HOUR)
      },
    },
    [must('told twins:w1', 0, 6 * BEAT, /w1 runs on host-other and host-w1/), must('completed t', 0, LONG.lastsMs)],
  ),
  fleet(
    'a clone: a second machine has the keys and the name of the first',
    'lost',
    {
      workers: THREE,
      tell: async (stage) => {
        await working(stage)
        await beatBeside(stage, 'host-w1', 10 * MINUTE)
        await stage.run(HOUR)
      },
    },
    [must('told twins:w1', 0, 6 * BEAT, /w1 runs twice on host-w1/), must('completed t', 0, LONG.lastsMs)],
  ),
  fleet(
    'twins that both take the task of the one agent that they are',
    'lost',
    {
      workers: THREE,
      tell: async (stage) => {
        await working(stage)
        const first = stage.worker('w1')
        const second = stage.start('w1', 'elsewhere')
        await beatBeside(stage, 'host-other', HOUR)
        for (const { life } of [first, second]) life.kill()
      },
    },
    [must('told twins:w1', 0, 6 * BEAT), must('completed t', 0, LONG.lastsMs)],
  ),
  fleet(
    'a network that is away for 70 s in every 140 s, for an hour',
    'lost',
    {
      workers: THREE,
      tell: async (stage) => {
        await working(stage)
        await repeat(stage, HOUR, 70 * SECOND, (step) => (step % 2 === 0 ? stage.cut('w1') : stage.mend('w1')))
        stage.mend('w1')
        await stage.run(HOUR)
      },
    },
    [
      ...toldAndMoved('silent', ...SILENCE),
      must('told silent:w1', 0, HOUR),
      must('told silent:w1', 0, HOUR),
      must('told flapping:w1', 0, HOUR, /w1 on host-w1 was lost and came back 3 times/),
      must('completed t', 0, HOUR),
      ...RETURNS,
    ],
  ),
  ...[25, 40].map((seconds) =>
    fleet(
      `a network that is away for ${seconds} s in every ${2 * seconds} s, for an hour`,
      'healthy',
      {
        workers: THREE,
        tell: async (stage) => {
          await working(stage)
          const turn = (step: number): void => (step % 2 === 0 ? stage.cut('w1') : stage.mend('w1'))
          await repeat(stage, HOUR, seconds * SECOND, turn)
          stage.mend('w1')
          await stage.run(10 * MINUTE)
        },
      },
      [must('completed t', 0, LONG.lastsMs + MINUTE)],
      seconds <= 30
        ? undefined
        : 'a lease of 60 s is renewed every 20 s and given up 10 s before its end: 30 to 50 s without a network end the command',
    ),
  ),
  fleet(
    'every third beat is lost, for an hour',
    'healthy',
    {
      workers: THREE,
      tell: async (stage) => {
        await working(stage)
        await repeat(stage, HOUR, BEAT, (step) => (step % 3 === 0 ? stage.stage.silence('w1') : stage.stage.heal('w1')))
      },
    },
    [must('completed t', 0, LONG.lastsMs)],
  ),
  fleet(
    'all but one fall silent together for five minutes, and work on where they are',
    'healthy',
    {
      workers: { ...THREE, w4: 'docs', w5: 'docs', w6: 'docs' },
      tell: async (stage) => {
        await working(stage)
        for (const name of ['w1', 'w2', 'w3', 'w4', 'w5']) stage.killDaemon(name)
        await stage.run(5 * MINUTE)
        for (const name of ['w1', 'w2', 'w3', 'w4', 'w5']) stage.startDaemon(name)
        await stage.run(HOUR)
      },
    },
    [must('told mass_silence', ...SILENCE, /no task is moved/), must('completed t', 0, LONG.lastsMs)],
  ),
  fleet(
    'the bridge is away for five minutes: each task is begun again by its own agent, for its lease ran out',
    'healthy',
    {
      workers: THREE,
      tell: async (stage) => {
        await working(stage)
        stage.cut('w1', 'w2', 'w3', 'boss')
        stage.stage.collects = false
        await stage.run(5 * MINUTE)
        stage.stage.collects = true
        stage.mend('w1', 'w2', 'w3', 'boss')
        await stage.run(HOUR)
      },
    },
    [
      must('told blind', LATE, LATE + 2 * BEAT, /the bridge may be down; no agent is judged and no task is moved/),
      must('stopping t lease_unsure', 0, LEASE),
      must('interrupted t', 5 * MINUTE, 6 * MINUTE),
      must('completed t', 0, HOUR),
    ],
  ),
  fleet(
    'the bridge is away for 30 s',
    'healthy',
    {
      workers: THREE,
      tell: async (stage) => {
        await working(stage)
        stage.cut('w1', 'w2', 'w3', 'boss')
        stage.stage.collects = false
        await stage.run(30 * SECOND)
        stage.stage.collects = true
        stage.mend('w1', 'w2', 'w3', 'boss')
        await stage.run(HOUR)
      },
    },
    [must('told blind', LATE, LATE + 2 * BEAT), must('completed t', 0, LONG.lastsMs)],
  ),
  fleet(
    'the watchdog stands still for ten minutes',
    'healthy',
    {
      workers: THREE,
      tell: async (stage) => {
        await working(stage)
        stage.watchdog.life.stop()
        await stage.run(10 * MINUTE)
        stage.watchdog.life.goOn()
        await stage.run(HOUR)
      },
    },
    [must('completed t', 0, LONG.lastsMs)],
  ),
  ...([-3 * HOUR, 3 * HOUR] as const).map((byMs) =>
    fleet(
      `the clock of the bridge is put ${byMs < 0 ? 'back' : 'forward'} by three hours`,
      'healthy',
      {
        workers: THREE,
        tell: async (stage) => {
          await working(stage)
          stage.stage.machine.stepWall(byMs)
          await stage.run(HOUR)
        },
      },
      [must('completed t', 0, LONG.lastsMs)],
    ),
  ),
  fleet(
    'the clock is put back by three hours, and then an agent is lost',
    'lost',
    {
      workers: THREE,
      tell: async (stage) => {
        await working(stage)
        stage.stage.machine.stepWall(-3 * HOUR)
        await stage.run(2 * SILENT)
        stage.begin()
        stage.cut('w1')
        await stage.run(HOUR)
      },
    },
    [...toldAndMoved('silent', ...SILENCE), must('completed t', 0, HOUR), ...RETURNS],
  ),
  fleet(
    'the clock is stepped by 20 s every 45 s, for half an hour',
    'healthy',
    {
      workers: THREE,
      tell: async (stage) => {
        await working(stage)
        await repeat(stage, 30 * MINUTE, 45 * SECOND, (step) =>
          stage.stage.machine.stepWall(step % 2 === 0 ? 20 * SECOND : -20 * SECOND),
        )
        await stage.run(HOUR)
      },
    },
    [must('told graces', 10 * MINUTE, 12 * MINUTE, /the clock was stepped/), must('completed t', 0, LONG.lastsMs)],
  ),
  fleet(
    'an agent that takes 90 s to take its task',
    'healthy',
    {
      workers: THREE,
      tell: async (stage) => {
        stage.kill('w1')
        await stage.give('t', 'w1')
        await stage.run(90 * SECOND)
        stage.start('w1')
        await stage.run(HOUR)
      },
    },
    [must('reminded t', TAKE / 4 - LOOK, TAKE / 4 + LOOK), must('completed t', 0, 3 * MINUTE)],
  ),
  fleet(
    'an agent is busy with a long task, and another of its role is free',
    'stuck',
    {
      workers: THREE,
      tell: async (stage) => {
        await stage.give('long', 'w1', LONG)
        await stage.run(MINUTE)
        stage.begin()
        await stage.give('t', 'w1', undefined, { role: 'docs' })
        await stage.run(HOUR)
      },
    },
    [
      must('moved t holder_busy', 4 * SECOND, 5 * SECOND + LOOK),
      must('completed t', 0, MINUTE),
      must('completed long', 0, LONG.lastsMs),
    ],
  ),
  fleet(
    'all agents of the role are busy, and work waits for them',
    'healthy',
    {
      workers: { w1: 'docs', w2: 'docs', w3: 'tests' },
      tell: async (stage) => {
        await stage.give('long-1', 'w1', LONG)
        await stage.give('long-2', 'w2', LONG)
        await stage.run(MINUTE)
        stage.begin()
        await stage.give('t', 'w1', undefined, { role: 'docs' })
        await stage.run(HOUR)
      },
    },
    [
      must('completed long-1', 0, LONG.lastsMs),
      must('completed long-2', 0, LONG.lastsMs),
      must('completed t', 0, LONG.lastsMs + MINUTE),
    ],
  ),
  fleet(
    'nobody has the role of a task',
    'stuck',
    {
      workers: THREE,
      tell: async (stage) => {
        await stage.give('t', null, undefined, { role: 'security' })
        await stage.run(HOUR)
      },
    },
    [
      must(
        'told task_stranded:security',
        MINUTE - LOOK,
        MINUTE + LOOK,
        /no agent can take t for the role security: no agent has this role; known are docs/,
      ),
    ],
  ),
  fleet(
    'the only agent of the role has a place that cannot work, for ten minutes',
    'place',
    {
      workers: { w1: 'docs', w2: 'tests' },
      tell: async (stage) => {
        const isMended = (): boolean => stage.witness.ms > 10 * MINUTE
        const exitCode = (): number => (isMended() ? 0 : 75)
        await stage.give('t', 'w1', { lastsMs: SECOND, exitCode, line: 'the disk is read-only' }, { role: 'docs' })
        await stage.run(HOUR)
      },
    },
    [
      must('returned t sick', 0, LOOK),
      must('place sick', 0, LOOK),
      must('told sick:w1', 0, 2 * LOOK, /the disk is read-only/),
      // a probe within the minute begins it anew: people know of the place by then
      must('told task_stranded:docs', MINUTE - LOOK, 2 * MINUTE + 2 * LOOK, /w1 cannot work: the disk is read-only/),
      ...[may('place probing'), may('place probing'), may('place probing'), may('place probing')],
      ...[may('returned t sick'), may('returned t sick'), may('returned t sick')],
      ...[may('place sick'), may('place sick'), may('place sick')],
      must('place well', 10 * MINUTE, 20 * MINUTE),
      must('completed t', 10 * MINUTE, 20 * MINUTE),
    ],
  ),
  fleet(
    'a task whose command says "not now" at every agent, among work that goes well there',
    'poison',
    {
      workers: { w1: 'docs', w2: 'docs' },
      tell: async (stage) => {
        const others: string[] = []
        await stage.give('t', null, { lastsMs: 20 * SECOND, exitCode: () => 75, line: 'the mirror is away' })
        for (let step = 0; step < 24; step += 1) {
          others.push(`other-${step}`)
          await stage.give(`other-${step}`, null, { lastsMs: MINUTE })
          await stage.run(5 * MINUTE)
        }
        const done = stage.witness.happenings.filter(({ what }) => what.startsWith('completed other-'))
        if (done.length < others.length - 1) stage.witness.note('other work waited')
      },
    },
    [
      must('told task_not_now:t', 0, 15 * MINUTE, /goes well at w[12] \(its last word: the mirror is away\)/),
      ...['w1', 'w2'].flatMap((worker) => [may(`told sick:${worker}`), ...Array(4).fill(may('place sick'))]),
      ...Array(8).fill(may('place probing')),
      ...[may('place well'), may('place well'), may('told task_stranded:any')],
      ...Array(8).fill(may('returned t sick')),
      // after pauses of 1, 2, 4, 8, 16, 30 and 30 minutes
      ...Array(8).fill(may('returned t not_now')),
    ],
  ),
  ...(['pending', 'assigned', 'running'] as const).map((state) =>
    fleet(
      `a deadline passes while the task is ${state}`,
      'stuck',
      {
        workers: { w1: 'docs' },
        tell: async (stage) => {
          if (state === 'assigned') stage.kill('w1')
          const more = { deadline: stage.at(10 * MINUTE), role: state === 'pending' ? 'security' : 'docs' }
          await stage.give('t', state === 'pending' ? null : 'w1', LONG, more)
          await stage.run(HOUR)
        },
      },
      [
        must('ended t deadline', 10 * MINUTE, 10 * MINUTE + LOOK),
        must('told task_failed:t', 10 * MINUTE, 10 * MINUTE + LOOK, /its deadline has passed/),
        ...(state === 'pending' ? [must('told task_stranded:security', MINUTE - LOOK, MINUTE + LOOK)] : []),
        ...(state === 'assigned' ? [must('told task_not_taken:w1', TAKE - LOOK, TAKE + LOOK)] : []),
        ...RETURNS,
      ],
    ),
  ),
  fleet(
    'a command that hangs at a question, with the default clocks',
    'stuck',
    {
      workers: THREE,
      tell: async (stage) => {
        await stage.give('t', 'w1', { ...HUNG, lastsMs: 10 * HOUR, isWorking: () => false })
        await stage.run(HOUR / 3)
        stage.jobs.set('t', { lastsMs: MINUTE }) // at whoever does it next
        await stage.run(HOUR)
      },
    },
    [
      must('told task_stalled:t', STALL, STALL + 20 * SECOND + LOOK, /its last line: Continue\? \[y\/N\]/),
      must('moved t stalled', 2 * STALL, 2 * STALL + 20 * SECOND + LOOK),
      must('completed t', 2 * STALL, 2 * STALL + 2 * MINUTE),
      ...RETURNS,
    ],
  ),
  fleet(
    'most agents stall together, for their model is away for 40 min',
    'healthy',
    {
      workers: { ...THREE, w4: 'docs' },
      tell: async (stage) => {
        const isAway = (): boolean => stage.witness.ms < 40 * MINUTE
        for (const name of ['w1', 'w2', 'w3', 'w4'])
          await stage.give(`t-${name}`, name, { lastsMs: HOUR, isWorking: () => !isAway() || name === 'w4' })
        await stage.run(2 * HOUR)
      },
    },
    [
      must('told task_stalled:many', STALL - LOOK, STALL + MINUTE, /no task is moved or ended for it/),
      ...['w1', 'w2', 'w3', 'w4'].map((name) => must(`completed t-${name}`, HOUR, HOUR + MINUTE)),
    ],
  ),
]

/** Another program beats for w1, half a beat after its own. */
async function beatBeside({ stage }: Fleet, host: string, ms: number): Promise<void> {
  const { session } = stage.actor('w1')
  await stage.run(BEAT / 2)
  for (let seq = 1; seq * BEAT <= ms; seq += 1) {
    const where = { place: 'elsewhere' }
    await stage.store.beat([{ session, host, incarnation: 'other', seq, work: 0, ...where }]).catch(() => undefined)
    await stage.run(BEAT)
  }
}
