import { join } from 'node:path'
import { isOpen } from '#fleet/task.ts'
import { until } from '../until.ts'
import { agentOf, deal } from './company.ts'
import {
  ATTEMPTS_MAX,
  BACKEND,
  CLOCKS,
  DOCS,
  FRONT,
  firstBegun,
  IDLE,
  LONELY,
  OTHER_FRONT,
  REVIEW,
  type Shift,
  TESTS,
} from './shift.ts'
import { workerOf } from './stage.ts'
import { seconds } from './telling.ts'

/** The process that runs a task's command, seen from that command: its shell's parent. */
const OWN_WORKER = '$(cut -d" " -f4 /proc/$PPID/stat)'
/** The least pauses before each start of a task, milliseconds: there is none before the second, and then they double. */
const PAUSES = [0, 0, 5_000, 10_000]
const QUESTION = 'overwrite? [y/N] '
/** Longer than it takes until a stalled task is moved, seconds. */
const BUILD_S = 20
const DEADLINE_S = 5

/** Hosts beat, and nothing works beside them. */
export async function nobodyTakes(shift: Shift): Promise<void> {
  const { telling, stage } = shift
  telling.chapter('Two workers have no command: their hosts beat, and nothing works there')
  await deal(shift, IDLE, 'untaken', 'echo done')
  await deal(shift, LONELY, 'alone', 'echo done')
  const assignments = async (): Promise<number> => {
    return (await shift.letters(IDLE, 'b', 'untaken')).filter(({ type }) => type === 'task_assignment').length
  }
  await until('its holder is reminded', async () => (await assignments()) === 2)
  telling.say(`${workerOf(IDLE)} is reminded of its task`)
  await until('another does it', () => shift.isCompleted('untaken'))
  const untaken = await shift.task('untaken')
  shift.onTime(`${workerOf(DOCS)} of the same role has begun it`, firstBegun(untaken), CLOCKS.takeMs)
  telling.check(
    'once, at the priority it had',
    agentOf(shift, untaken.holder) === workerOf(DOCS) && untaken.epoch === 2 && untaken.priority === 'P2',
    JSON.stringify(untaken),
  )
  await shift.told(`task_not_taken:${workerOf(IDLE)}`, 'lasting')
  const { openedAt, summary } = await shift.told(`task_not_taken:${workerOf(LONELY)}`, 'lasting')
  const alone = await shift.task('alone')
  shift.onTime(
    'with no other of the role, people are told who takes nothing',
    openedAt - alone.createdAt,
    CLOCKS.takeMs,
  )
  telling.check('and of what', summary.includes('alone'), summary)
  telling.check('it stays where it is', alone.state === 'assigned' && alone.epoch === 1)
  await stage.s2('task', 'cancel', 'alone')
  telling.say('it is withdrawn; that nothing works there is so all the same')
}

/** A task that ends whoever does it. */
export async function poison(shift: Shift): Promise<void> {
  const { telling, stage } = shift
  const agent = workerOf(BACKEND)
  telling.chapter(`A task kills the program that does it, at ${agent}`)
  await deal(shift, BACKEND, 'poison', `kill -9 ${OWN_WORKER}; sleep 60`)
  await deal(shift, BACKEND, 'poison-next', 'echo done')
  await until('the next task is done', () => shift.isCompleted('poison-next'))
  const between = await shift.task('poison')
  telling.check(
    `its next task was done meanwhile, between two starts of the first one`,
    isOpen(between.state) && between.attempts.length >= 1,
    JSON.stringify(between),
  )
  await until('it has failed', async () => (await shift.task('poison')).state === 'failed')
  const { attempts, result, createdAt, updatedAt, epoch } = await shift.task('poison')
  const { began } = stage.ledgerOf('poison')
  telling.check(
    `it was begun ${began} times in ${seconds(updatedAt - createdAt)}, and never again`,
    began <= ATTEMPTS_MAX && attempts.length === ATTEMPTS_MAX,
    `${began} by the ledger, ${attempts.length} by the fleet`,
  )
  const pauses = attempts.map(({ startedAt }, index) => startedAt - (attempts[index - 1]?.endedAt ?? createdAt))
  telling.check(
    `with pauses that grow: ${pauses.slice(1).map(seconds).join(', ')}`,
    pauses.every((ms, index) => ms >= (PAUSES[index] ?? 0)),
  )
  const history = result?.tail.split('\n') ?? []
  telling.check(
    'it has failed with its history',
    history.length === 1 + ATTEMPTS_MAX && history.slice(1).every((line) => line.includes(agent)),
    result?.tail,
  )
  await shift.told(`task_exhausted:poison@${epoch}`, 'event')
  telling.check('whoever gave it was told, once', await shift.wasGiverTold(BACKEND, 'poison'))
}

/** A command waits for an answer that nobody gives; another says nothing, and works. */
export async function hang(shift: Shift): Promise<void> {
  const { telling, stage } = shift
  telling.chapter(`A command asks ${workerOf(FRONT)} y/N and waits; beside it a build is quiet for ${BUILD_S} s`)
  const pipe = join(stage.folder, 'answers')
  const ask = `printf '${QUESTION}'; if [ "$S2_TASK_EPOCH" = 1 ]; then mkfifo ${pipe}; read -r answer <>${pipe}; fi`
  await deal(shift, FRONT, 'hang', `${ask}; echo overwritten`)
  await deal(shift, REVIEW, 'build', `timeout ${BUILD_S} sh -c 'while :; do :; done'; echo built`)
  const { openedAt, summary } = await shift.told('task_stalled:hang@1', 'over')
  const { attempts } = await shift.task('hang')
  const begunAt = attempts[0]?.startedAt ?? Number.NaN
  shift.onTime('that it shows no work is told', openedAt - begunAt, CLOCKS.stallMs)
  telling.check('with its last line', summary.includes(QUESTION.trim()), summary)
  await until('another does it', () => shift.isCompleted('hang'))
  const ended = await shift.task('hang')
  shift.onTime('it is ended', (ended.attempts[0]?.endedAt ?? Number.NaN) - begunAt, 2 * CLOCKS.stallMs)
  telling.check(
    `and done by ${workerOf(OTHER_FRONT)}`,
    agentOf(shift, ended.holder) === workerOf(OTHER_FRONT) && ended.attempts[0]?.end === 'stalled',
    JSON.stringify(ended.attempts),
  )
  await isFree(shift, FRONT, 'after-hang')
  await until('the build is done', () => shift.isCompleted('build'))
  const build = await shift.task('build')
  telling.check(
    `the quiet build was left in peace for ${seconds(build.updatedAt - (build.attempts[0]?.startedAt ?? Number.NaN))}`,
    build.attempts.length === 1 && !stage.alerts().some(({ cause }) => cause.includes('build')),
    JSON.stringify(build.attempts),
  )
}

/** Two tasks run on past their deadlines; one of them may go to another. */
export async function deadlines(shift: Shift): Promise<void> {
  const { telling, stage } = shift
  telling.chapter(`Two tasks have ${DEADLINE_S} s, and run on`)
  const ticking = 'while :; do echo tick; sleep 0.5; done'
  const once = `if [ "$S2_TASK_EPOCH" = 1 ]; then ${ticking}; fi; echo done`
  const within = ['--deadline', `${DEADLINE_S}s`]
  await stage.s2('task', 'add', ticking, '--to', workerOf(TESTS), '--id', 'late', ...within)
  await stage.s2('task', 'add', once, '--to', workerOf(FRONT), '--id', 'passed-on', ...within, '--on-deadline', 'move')
  await until('one has failed', async () => (await shift.task('late')).state === 'failed')
  const late = await shift.task('late')
  const deadline = late.deadline ?? Number.NaN
  telling.say(`its deadline passed ${seconds(deadline - late.createdAt)} after it was added`)
  shift.onTime('one is ended and has failed', late.updatedAt - deadline, 0)
  await shift.told(`task_failed:late@${late.epoch}`, 'event')
  telling.check('whoever gave it was told, once', await shift.wasGiverTold(TESTS, 'late'))
  await isFree(shift, TESTS, 'after-late')
  await until('the other is done', () => shift.isCompleted('passed-on'))
  const { attempts, holder, moves } = await shift.task('passed-on')
  telling.check(
    `the other went to ${workerOf(OTHER_FRONT)}, once, and was done there`,
    agentOf(shift, holder) === workerOf(OTHER_FRONT) && attempts[0]?.end === 'deadline' && moves === 1,
    JSON.stringify(attempts),
  )
}

/** What it had in hand is ended, so that it does another task at once. */
async function isFree(shift: Shift, worker: number, id: string): Promise<void> {
  await deal(shift, worker, id, 'echo free')
  const took = await until('it does another', () => shift.isCompleted(id))
  shift.telling.check(
    `${workerOf(worker)} does its next task, ${seconds(took)}`,
    (await shift.holderOf(id)) === workerOf(worker),
  )
}
