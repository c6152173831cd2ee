/** Commands of tasks, as they run, hang, end and fail under `s2 work`; those that take longest come first. */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readStat } from '#runtime/process-stat.ts'
import { CLOCKS, type CommandPlay, type CommandStage, command, SLACK_MS } from './command-player.ts'
import { type Demand, may, must, type Situation } from './situation.ts'

const STALL = CLOCKS.stallAfterMs
/** Longer than a task may show no work before it is moved. */
const LONG = 2.6 * STALL
const SECONDS = LONG / 1_000
const HOUR = 3_600_000
/** Three lives of a worker, each of which a busy machine takes seconds to begin, and the pause of 5 s before the last. */
const LIVES = 60_000

/** Burns processor time and shows nothing else. */
const BURN = `timeout ${SECONDS} sh -c 'while :; do :; done'; exit 0`
/** Waits for what never comes, as one process that neither prints nor takes processor time. */
const HANG = 'mkfifo q; read x < q'

/** Its own agent does it, undisturbed. */
function leftAlone(toMs = LONG + SLACK_MS): Demand[] {
  return [must('completed t', 0, toMs)]
}

/** People are told in time, with its last line; then it is ended and another agent does it. */
function toldAndMoved(says?: RegExp): Demand[] {
  return [
    must('told task_stalled:t', STALL, STALL + SLACK_MS, says),
    must('moved t stalled', 2 * STALL, 2 * STALL + SLACK_MS),
    may('stopping t lease_lost'),
    may('refused t'),
    must('completed t', 2 * STALL, 2 * STALL + 2 * SLACK_MS),
  ]
}

const DEADLINE = LONG

/** Nothing is done about it before its deadline, and then it is ended. */
function endedAtDeadline(): Demand[] {
  return [
    must('ended t deadline', DEADLINE, DEADLINE + SLACK_MS),
    must('told task_failed:t', DEADLINE, DEADLINE + SLACK_MS, /its deadline has passed/),
    may('stopping t lease_lost'),
    may('refused t'),
  ]
}

/** The task goes back unharmed and another agent does it; people are told of the place, and why. */
function placeTold(state: 'sick' | 'parked', says: RegExp): Demand[] {
  return [
    must(`returned t ${state}`, 0, SLACK_MS),
    must(`place ${state}`, 0, SLACK_MS, says),
    must(`told ${state}:w1`, 0, 2 * SLACK_MS, says),
    must('completed t', 0, 2 * SLACK_MS),
  ]
}

/** A made-up program. */
function program(name: string, text: string, mode = 0o755): Pick<CommandPlay, 'prepare'> {
  return {
    prepare: (folder) => {
      mkdirSync(join(folder, 'bin'), { recursive: true })
      writeFileSync(join(folder, 'bin', name), text)
      chmodSync(join(folder, 'bin', name), mode)
    },
  }
}

/** Lets a process have 30 ms of a core in each second, as a machine does that is full of others. */
function slowDown({ folder }: CommandStage): () => void {
  let [second, spent, isStopped] = [0, 0, false]
  const timer = setInterval(() => {
    try {
      const pid = Number(readFileSync(join(folder, 'pid'), 'utf8'))
      if (pid === 0) return
      const { ticks } = readStat(readFileSync(`/proc/${pid}/stat`, 'latin1'))
      const isNext = Math.trunc(performance.now() / 1_000) !== second
      if (isNext) [second, spent] = [Math.trunc(performance.now() / 1_000), ticks]
      if (isStopped && isNext) process.kill(pid, 'SIGCONT')
      if (ticks - spent >= 3) process.kill(pid, 'SIGSTOP')
      isStopped = ticks - spent >= 3
    } catch {
      // it has not begun, or has ended
    }
  }, 10)
  return () => clearInterval(timer)
}

/** Steps the wall clock by so much in the middle, and back a little later. */
function stepClock(byMs: number): (stage: CommandStage) => () => void {
  return ({ clock }) => {
    const there = setTimeout(() => clock.pass(byMs), 0.8 * STALL)
    const back = setTimeout(() => clock.pass(-byMs), 1.8 * STALL)
    return () => [there, back].forEach(clearTimeout)
  }
}

/** After a step of the clock the bridge is asked first, within an eighteenth of the lease: on a busy machine that must be long. */
const PATIENT = { leaseMs: 15_000 }

const ROCKETS = "printf '\\360\\237\\232\\200%.0s' $(seq 2501)"

const LINE = `"compiling $(printf %70s x)"`

export const COMMANDS: readonly Situation[] = [
  command(
    'a task that kills its worker',
    'poison',
    {
      tasks: ['kill -9 $PPID; sleep 100', 'echo the next one'],
      isApart: true,
      clocks: { leaseMs: 20_000, takeWithinMs: 20_000, stallAfterMs: 20_000 }, // a life may take long to begin
    },
    [
      must('interrupted t1', 0, LIVES),
      must('interrupted t1', 0, LIVES),
      must('interrupted t1', 0, LIVES),
      must('ended t1 attempts', 0, LIVES),
      must('told task_exhausted:t1', 0, LIVES, /begun 3 times and never ended/),
      must('completed t2', 0, LIVES),
      may('moved t2 holder_busy'),
    ],
  ),
  command('a quiet build that burns processor time', 'healthy', { tasks: [BURN] }, leftAlone()),
  command(
    'a quiet build whose compiler is a grandchild in a session of its own',
    'healthy',
    { tasks: [`setsid sh -c "${BURN}" & wait`] },
    leftAlone(),
  ),
  command(
    'a quiet build on a machine that gives it 3 % of a core',
    'healthy',
    { tasks: [`timeout ${SECONDS} sh -c 'echo $$ > pid; while :; do :; done'; exit 0`], beside: slowDown },
    leftAlone(LONG + 2 * SLACK_MS),
  ),
  command(
    'a flood of output',
    'healthy',
    { tasks: [`timeout 10 nice yes ${LINE}; exit 0`], isApart: true, clocks: { leaseMs: 9_000, stallAfterMs: 4_500 } },
    leftAlone(10_000 + 2 * SLACK_MS),
  ),
  command(
    'a line of output now and then',
    'healthy',
    { tasks: [`mkfifo q; exec bash -c 'exec 3<>q; for i in 1 2 3 4; do echo line $i; read -t 2 -u 3; done; exit 0'`] },
    leftAlone(),
  ),
  command(
    'a progress bar that only returns to the beginning of its line',
    'healthy',
    {
      tasks: [
        `mkfifo q; exec bash -c 'exec 3<>q; for i in 1 2 3 4; do printf "\\r$i of 4"; read -t 2 -u 3; done; exit 0'`,
      ],
    },
    leftAlone(),
  ),
  command(
    'a script whose children come and go',
    'healthy',
    { tasks: ['for i in $(seq 16); do sleep 0.5; done'] },
    leftAlone(LONG + 2 * SLACK_MS),
  ),
  command(
    'a command that shows nothing for longer than people are told of, and then goes on',
    'healthy',
    {
      tasks: [
        `mkfifo q; exec bash -c 'exec 3<>q; read -t ${(1.6 * STALL) / 1_000} -u 3; echo on; read -t 2 -u 3; exit 0'`,
      ],
    },
    [must('told task_stalled:t', STALL, STALL + SLACK_MS), must('completed t', 2 * STALL, 2 * STALL + SLACK_MS)],
  ),
  command(
    'a spinning loop, which nobody can tell from a build: left alone until its deadline',
    'healthy',
    { tasks: ['while :; do :; done'], deadlineMs: DEADLINE },
    endedAtDeadline(),
  ),
  command(
    'a screen that only repaints itself, which nobody can tell from one that works: left alone until its deadline',
    'healthy',
    {
      tasks: [
        `mkfifo q; exec bash -c 'exec 3<>q; while :; do printf "\\033[2K\\033[1G\\033[?25l"; read -t 0.1 -u 3; done'`,
      ],
      deadlineMs: DEADLINE,
    },
    endedAtDeadline(),
  ),
  command('a command without output that ends at once', 'healthy', { tasks: ['exit 0'] }, leftAlone(SLACK_MS)),
  command(
    'a command whose child holds the pipe open',
    'healthy',
    { tasks: ['sleep 1000 & echo started'] },
    leftAlone(SLACK_MS + 2_000),
  ),
  command(
    'half a character, and the other half seconds later',
    'healthy',
    {
      tasks: [`printf '\\360\\237'; sleep 2; ${ROCKETS} >&2; printf '\\232\\200'; sleep 2; ${ROCKETS}; printf '\\360'`],
    },
    leftAlone(),
  ),
  command(
    'a line of three million characters',
    'healthy',
    { tasks: [`head -c 3000000 /dev/zero | tr '\\0' x; ${BURN}`] },
    leftAlone(),
  ),
  command(
    'the clock is set forward by three hours, and back, while a quiet build runs',
    'healthy',
    { tasks: [BURN], beside: stepClock(3 * HOUR), clocks: PATIENT },
    leftAlone(),
  ),
  command(
    'the clock is set back by three hours, and forward, while a quiet build runs',
    'healthy',
    { tasks: [BURN], beside: stepClock(-3 * HOUR), clocks: PATIENT },
    leftAlone(),
  ),
  command(
    'a question y/N that waits for an answer',
    'stuck',
    { tasks: [`echo copying; printf 'Overwrite it? [y/N] '; ${HANG}`] },
    toldAndMoved(/its last line: Overwrite it\? \[y\/N\]/),
  ),
  command(
    'a client that asks for a permission',
    'stuck',
    {
      argv: ['claude', '-p'],
      tasks: ['clean up'],
      ...program(
        'claude',
        `#!/bin/sh\nprintf 'Bash(rm -rf build)\\nDo you want to proceed?\\n 1. Yes\\n 2. No\\n❯ '\n${HANG}\n`,
      ),
    },
    toldAndMoved(/its last line: ❯/),
  ),
  command('a command that sleeps for ever', 'stuck', { tasks: ['exec sleep 100000'] }, toldAndMoved(/printed nothing/)),
  command(
    'a command that follows a file to which nobody writes',
    'stuck',
    { tasks: ['echo waiting for the server; exec tail -f /dev/null'] },
    toldAndMoved(/its last line: waiting for the server/),
  ),
  command(
    'two processes, each of which waits until the other reads',
    'stuck',
    {
      tasks: [
        'mkfifo p q; exec 3<>p 4<>q; dd if=/dev/zero bs=1M count=1 >&3 & dd if=/dev/zero bs=1M count=1 >&4 & wait',
      ],
    },
    toldAndMoved(),
  ),
  command(
    'a command whose child is stopped',
    'stuck',
    { tasks: [`sh -c 'echo compiling; kill -STOP $$; echo linked' & wait`] },
    toldAndMoved(/its last line: compiling/),
  ),
  command('a hung command that ignores TERM', 'stuck', { tasks: [`trap '' TERM; ${HANG}`] }, [
    ...toldAndMoved(),
    must('stopped t SIGKILL', 2 * STALL, 2 * STALL + 2 * SLACK_MS),
  ]),
  command(
    'a usage limit of Claude Code',
    'parked',
    {
      argv: ['claude', '-p'],
      tasks: ['think'],
      ...program('claude', `#!/bin/sh\necho "You've hit your session limit · resets 3am (UTC)"\nexit 1\n`),
    },
    placeTold('parked', /claude: You've hit your session limit/),
  ),
  command(
    'a Codex that is logged out',
    'parked',
    {
      argv: ['codex', 'exec'],
      tasks: ['think'],
      ...program('codex', '#!/bin/sh\necho "Reading prompt from stdin..."\necho "ERROR: Not logged in" >&2\nexit 1\n'),
    },
    placeTold('parked', /codex: Not logged in/),
  ),
  command(
    'exit code 75 with the time after which to come again',
    'parked',
    { tasks: ['echo the licence server is busy; echo retry-after: 600; exit 75'] },
    placeTold('parked', /the licence server is busy/),
  ),
  command(
    'exit code 75 without a time',
    'place',
    { tasks: ['echo the disk is read-only; exit 75'] },
    placeTold('sick', /the disk is read-only/),
  ),
  command(
    'a folder that is missing',
    'place',
    { tasks: ['true'], folder: 'gone' },
    placeTold('sick', /gone does not exist/),
  ),
  command(
    'a program that is missing',
    'place',
    { argv: ['no-such-agent', '-p'], tasks: ['x'] },
    placeTold('sick', /the program no-such-agent is not installed/),
  ),
  command(
    'a program that may not be executed',
    'place',
    { argv: ['agent', '-p'], tasks: ['x'], ...program('agent', '#!/bin/sh\n', 0o644) },
    placeTold('sick', /agent may not be executed/),
  ),
  command(
    'a script whose interpreter is missing',
    'place',
    { argv: ['agent', '-p'], tasks: ['x'], ...program('agent', '#!/opt/none/python3\n') },
    placeTold('sick', /the program \/opt\/none\/python3, which runs .*agent, is not installed/),
  ),
  command(
    'a command that fails at once, whatever the task',
    'place',
    { tasks: Array<string>(3).fill('echo no licence; exit 1') },
    [
      must('returned t1 quick_failure', 0, SLACK_MS),
      must('returned t2 quick_failure', 0, SLACK_MS),
      may('returned t3 sick'),
      may('returned t3 quick_failure'),
      must('place sick', 0, SLACK_MS),
      must('told sick:w1', 0, 2 * SLACK_MS, /failed within seconds 3 times in a row: no licence/),
      ...[1, 2, 3].map((n) => must(`completed t${n}`, 0, 2 * SLACK_MS)),
    ],
  ),
  command(
    'one task that fails at once, at whoever gets it',
    'poison',
    { tasks: ['echo it does not compile; exit 3'], second: 'same' },
    [
      must('returned t quick_failure', 0, SLACK_MS),
      must('failed t', 0, 2 * SLACK_MS),
      must('told task_failed:t', 0, 2 * SLACK_MS, /at w2: exit code 3: it does not compile/),
    ],
  ),
]
