import { isOpen } from '../../../services/core/fleet/task.ts'
import { wholeAudit } from '../../rehearse/company.ts'
import { workerOf } from '../../rehearse/stage.ts'
import { seconds } from '../../rehearse/telling.ts'
import { until } from '../../until.ts'
import { type Cast, DEAF, KILLED, LOSSY, MUTE, PARTITIONED, SUSPENDED } from './cast.ts'

/** What the story comes to: mail, tasks, wakes, incidents and programs. */
export async function accounts(cast: Cast): Promise<void> {
  const { fleet, store, telling, table, mail, dealt } = cast
  telling.chapter('The accounts')
  await mail.stopSending()
  const took = await until('all mail has come', () => mail.read >= mail.sent, 120_000).catch(() => Number.NaN)
  telling.say(`${mail.sent} messages were sent all the while; the last came ${seconds(took)} after the end`)
  const faults = mail.faults()
  telling.check('every message came exactly once and in order', faults.length === 0, faults.join('; '))
  telling.check('there were enough of them to prove something', mail.sent >= 1_000, `${mail.sent}`)
  table.note('last message after the last one was sent', took, null, null)
  const tasks = await Promise.all(dealt.map((id) => store.task(id)))
  const open = tasks.filter(({ state }) => isOpen(state))
  telling.check(`all ${dealt.length} tasks have ended`, open.length === 0, open.map(({ id }) => id).join(', '))
  const audit = await wholeAudit(store)
  const wrong = dealt.filter(
    (id) => audit.filter((each) => each.action === 'task_completed' && each.details.task === id).length !== 1,
  )
  telling.check('each was completed exactly once, by the audit chain', wrong.length === 0, wrong.join(', '))
  const held = [PARTITIONED, KILLED, SUSPENDED, DEAF, MUTE].map((each) => `held-by-${each}`)
  const twice = dealt.filter((id) => !held.includes(id) && fleet.ledgerOf(id).ended !== 1)
  telling.check('and done once, save those whose owner was not heard', twice.length === 0, twice.join(', '))
  const moves = audit.filter((each) => each.action === 'task_moved').map((each) => String(each.details.task))
  telling.check('only theirs were moved, once each', moves.toSorted().join() === held.toSorted().join(), moves.join())
  const convicted = (await store.incidents({ open: false })).filter(({ agent }) => agent === workerOf(LOSSY))
  const lost = fleet.router.lostAt(LOSSY)
  telling.check(
    `the bad line lost ${lost.join(' + ')} packets, and nobody was convicted for it`,
    convicted.length === 0 && lost.every((each) => each > 50),
    convicted.map(({ summary }) => summary).join('; '),
  )
  for (const machine of [fleet.lead, fleet.worker(KILLED), fleet.worker(7)]) {
    const wakes = fleet.wakesOf(machine)
    telling.check(
      `${machine.name} was woken for ${wakes.length} messages, never twice for one`,
      wakes.length >= mail.readAt(machine.name) / 2 && new Set(wakes).size === wakes.length,
      `${new Set(wakes).size} different ones`,
    )
  }
  fleet.router.mend(LOSSY)
  const closed = await until('no incident is open', async () => (await store.incidents({ open: true })).length === 0)
  telling.say(`all incidents are closed (${seconds(closed)})`)
  const fallen = fleet.machines.flatMap((machine) => machine.fallen())
  telling.check('no program ended that nobody killed', fallen.length === 0, fallen.join('; '))
}
