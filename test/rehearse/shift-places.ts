import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { countedAttempts } from '../../services/core/fleet/task-attempts.ts'
import { until } from '../until.ts'
import { agentOf, deal, verdictOf } from './company.ts'
import {
  BACKED,
  BACKEND,
  CHECKOUT,
  CLOCKS,
  DOCS,
  FRONT,
  HOMELESS,
  OTHER_FRONT,
  PROGRAM,
  REVIEW,
  type Shift,
  TESTS,
  UNEQUIPPED,
} from './shift.ts'
import { workerOf } from './stage.ts'
import { seconds } from './telling.ts'

const TEN = Array.from({ length: 10 }, (_, index) => index + 1)
/** The first pause until a place looks whether it can work, and its spread, milliseconds. */
const PROBE_MS = 66_000
/** What a command asks for that may not work for now, seconds. */
const RETRY_AFTER_S = 5

/** Two places cannot work; beside each stands another that can. */
export async function placesFail(shift: Shift): Promise<void> {
  const { telling, stage, store } = shift
  telling.chapter('The folder of one worker is removed, and the program of another')
  rmSync(join(stage.folder, CHECKOUT), { recursive: true })
  rmSync(join(stage.folder, PROGRAM))
  const removedAt = Date.now()
  const pairs = [
    { role: 'tests', sick: HOMELESS, well: TESTS, why: /the folder .* does not exist/ },
    { role: 'review', sick: UNEQUIPPED, well: REVIEW, why: /the program \.\/agent is not installed/ },
  ]
  const began = performance.now()
  const offered = pairs.map(async ({ role }) => {
    return await Promise.all(TEN.map((number) => shift.offer(role, `${role}-${number}`, 'echo done')))
  })
  const ids = await Promise.all(offered)
  await until('all twenty are completed', async () => {
    return (await Promise.all(ids.flat().map((id) => shift.isCompleted(id)))).every((each) => each)
  })
  telling.say(`ten tasks for each of the two roles are completed in ${seconds(performance.now() - began)}`)
  for (const [index, { role, sick, well, why }] of pairs.entries()) {
    const tasks = await Promise.all((ids[index] ?? []).map((id) => shift.task(id)))
    telling.check(
      `ten of ten of ${role} were done by ${workerOf(well)}, as urgent as before, and no start in the sick place counts`,
      tasks.every((task) => agentOf(shift, task.holder) === workerOf(well) && task.priority === 'P2') &&
        tasks.every((task) => countedAttempts(task) === 1),
      JSON.stringify(tasks.map(({ attempts }) => attempts)),
    )
    const { summary, openedAt } = await shift.told(`sick:${workerOf(sick)}`, 'over')
    shift.onTime('that is told, with what is missing,', openedAt - removedAt, 0)
    telling.check('by its name', why.test(summary), summary)
    await until(`${workerOf(sick)} is shown as sick`, async () => (await verdictOf(store, workerOf(sick))) === 'sick')
  }
}

/** Lays down what the commands of the two workers need. */
export function equip({ stage }: Shift): void {
  mkdirSync(join(stage.folder, CHECKOUT))
  writeFileSync(join(stage.folder, PROGRAM), '#!/bin/sh\nexec sh -c "$S2_TASK_DESCRIPTION"\n', { mode: 0o755 })
}

/** Somebody puts right what was missing, and does no more. Answers when. */
export function mend(shift: Shift): number {
  const { telling } = shift
  equip(shift)
  telling.say('the folder is there again, and so is the program; nobody is told')
  return Date.now()
}

export async function placesAreWell(shift: Shift, mendedAt: number): Promise<void> {
  const { telling } = shift
  telling.chapter('The places that were put right find that out by themselves')
  for (const worker of [HOMELESS, UNEQUIPPED]) {
    const agent = workerOf(worker)
    const { closedAt, outcome } = await shift.over(`sick:${agent}`)
    shift.onTime(`${agent} is well, and its incident over,`, (closedAt ?? Number.NaN) - mendedAt, 0, PROBE_MS)
    telling.check('which is told', outcome === `${agent} can work again`, outcome ?? 'no outcome')
    const id = await deal(shift, worker, `well-${worker}`, 'echo well')
    await until('it works again', () => shift.isCompleted(id))
    telling.check('it works again', (await shift.holderOf(id)) === agent)
  }
}

/** A client may not work for a while, and says until when. */
export async function limitIsReached(shift: Shift): Promise<void> {
  const { telling, store } = shift
  const agent = workerOf(FRONT)
  telling.chapter(`${agent} reaches a usage limit`)
  const limit = `echo "usage limit reached"; echo "retry-after: ${RETRY_AFTER_S}"; exit 75`
  await deal(shift, FRONT, 'limited', `if [ "$S2_TASK_EPOCH" = 1 ]; then ${limit}; fi; echo done`)
  await until(`${agent} is shown as parked`, async () => (await verdictOf(store, agent)) === 'parked')
  const { openedAt } = await shift.told(`parked:${agent}`, 'over')
  await until('its task is done', () => shift.isCompleted('limited'))
  const task = await shift.task('limited')
  const doneMs = task.updatedAt - task.createdAt
  telling.check(
    `its task was done by ${workerOf(OTHER_FRONT)} within ${seconds(doneMs)}, and its start counts for nothing`,
    (await shift.holderOf('limited')) === workerOf(OTHER_FRONT) && countedAttempts(task) === 1,
    JSON.stringify(task.attempts),
  )
  await until('it may work again', async () => (await shift.conditionOf(FRONT)) !== 'parked')
  shift.onTime('it tries again by itself', Date.now() - openedAt, RETRY_AFTER_S * 1_000)
  await deal(shift, FRONT, 'unlimited', 'echo back')
  await until('it works again', () => shift.isCompleted('unlimited'))
  await until('it is well', async () => (await shift.conditionOf(FRONT)) === 'well')
  telling.check('and one task shows that it can', (await shift.holderOf('unlimited')) === agent)
}

/** Work for a role goes to that role, or to whoever the fleet lets stand in. */
export async function rolesHold(shift: Shift): Promise<void> {
  const { telling, stage, store } = shift
  telling.chapter('A role that nobody has, one whose only agent is dead, and one that another stands in for')
  const refusal = await stage.s2('task', 'add', 'x', '--role', 'bakend').then(String, ({ message }: Error) => message)
  telling.check(
    'a slip of the pen is refused, with what was meant and what is known',
    refusal.includes('did you mean backend? known roles are backend, deploy, docs, frontend, review, tests, wsl-cli'),
    refusal,
  )
  for (const worker of [BACKEND, BACKED]) await stage.s2('kill', workerOf(worker))
  for (const worker of [BACKEND, BACKED]) {
    await until('both are silent', async () => (await verdictOf(store, workerOf(worker))) === 'silent')
    await shift.told(`silent:${workerOf(worker)}`, worker === BACKEND ? 'over' : 'lasting')
  }
  await stage.s2('task', 'add', 'echo waited', '--role', 'backend', '--id', 'waits')
  await stage.s2('task', 'add', 'echo stood in', '--role', 'wsl-cli', '--id', 'backed')
  const { summary, openedAt } = await shift.told('task_stranded:backend', 'over')
  const { createdAt, state } = await shift.task('waits')
  shift.onTime('a task for the dead one waits, and is told of', openedAt - createdAt, CLOCKS.pendingMs)
  telling.check('with who would fit, and why it cannot', /s2-worker-4 has been silent for/.test(summary), summary)
  await until('another role stands in', () => shift.isCompleted('backed'))
  const backed = await shift.task('backed')
  telling.check(
    `the other was done by ${workerOf(DOCS)} of docs, ${seconds(backed.updatedAt - backed.createdAt)} after it was added`,
    agentOf(shift, backed.holder) === workerOf(DOCS),
    agentOf(shift, backed.holder),
  )
  telling.check('nobody else took the one that waits', state === 'pending' && (await shift.task('waits')).moves === 0)
  const thawed = performance.now()
  await stage.s2('thaw', workerOf(BACKEND))
  await until('its own agent does it', () => shift.isCompleted('waits'))
  telling.check(
    `its own agent does it ${seconds(performance.now() - thawed)} after it was started again`,
    (await shift.holderOf('waits')) === workerOf(BACKEND),
  )
}
