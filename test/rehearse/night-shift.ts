import { until } from '../until.ts'
import { Shift } from './shift.ts'
import { equip, limitIsReached, mend, placesAreWell, placesFail, rolesHold } from './shift-places.ts'
import { deadlines, hang, nobodyTakes, poison } from './shift-tasks.ts'
import { seconds, type Telling } from './telling.ts'

/** A night of work that nobody watches: every task ends, moves, or is told of within the time that its clock says. */
export async function playNightShift(telling: Telling): Promise<void> {
  await using shift = new Shift(telling)
  const { stage } = shift
  stage.keep = true
  const began = performance.now()
  telling.chapter('A fleet at work by night, whose clocks run in seconds')
  equip(shift)
  const up = await shift.raise()
  telling.say(`${shift.workers} workers and their orchestrator are alive (${seconds(up)} after the bridge)`)
  await placesFail(shift)
  const mendedAt = mend(shift)
  await nobodyTakes(shift)
  await poison(shift)
  await hang(shift)
  await deadlines(shift)
  await limitIsReached(shift)
  await rolesHold(shift)
  await placesAreWell(shift, mendedAt)
  await accounts(shift)
  telling.say(`the night took ${seconds(performance.now() - began)}`)
  telling.check('s2 up ends with 0', (await stage.lower()) === 0)
  telling.check('no process is left', stage.family().length === 0)
  stage.keep = false
}

/** What people were told of all this. */
async function accounts(shift: Shift): Promise<void> {
  const { telling, stage, causes } = shift
  telling.chapter('What people were told, by the alert command')
  const count = (cause: string, event: string): number =>
    stage.alerts().filter((each) => each.cause === cause && each.event === event).length
  const lasts = [...causes].filter(([, fate]) => fate === 'over').map(([cause]) => cause)
  await until('the end of each is told', () => lasts.every((cause) => count(cause, 'closed') > 0))
  for (const cause of new Set([...causes.keys(), ...stage.alerts().map((each) => each.cause)])) {
    telling.say(`${count(cause, 'opened')} opened, ${count(cause, 'closed')} closed: ${cause}`)
  }
  const wrong = [...causes].filter(([cause, fate]) => {
    return count(cause, 'opened') !== 1 || count(cause, 'closed') !== (fate === 'over' ? 1 : 0)
  })
  telling.check(
    `each of ${causes.size} causes was told once, and its end once where it has one`,
    wrong.length === 0,
    wrong.map(([cause]) => cause).join(', '),
  )
}
