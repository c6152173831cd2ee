import { cpSync } from 'node:fs'
import { join } from 'node:path'
import type { Store } from '../../../services/core/store/store.ts'
import { wholeAudit } from '../../rehearse/company.ts'
import {
  bridgeAway,
  conversationOf,
  everyWorker,
  type Ground,
  newMachine,
  sleepOverNight,
  speaks,
  tokenLeaks,
} from '../../rehearse/drills.ts'
import { hostileRemote } from '../../rehearse/hostile-remote.ts'
import { MailLoad } from '../../rehearse/mail.ts'
import { workerOf } from '../../rehearse/stage.ts'
import { seconds, type Telling } from '../../rehearse/telling.ts'
import { until } from '../../until.ts'
import type { Fleet } from './fleet.ts'
import { DISK } from './machine.ts'
import type { Table } from './table.ts'

/** A minute stands for the three hours that tokens live. */
const LIFETIME = '60s'
/** Seldom enough for the rate that a session has by default, and for what waits to catch up. */
const SEND_EVERY_MS = 2_000
/** Whom what befalls. */
const ROBBED = 2
const EMPTIED = 3
const DOUBLED = 7
const TWIN = 11

/** What befalls the credentials of a fleet that nobody watches, after all else: the machines are those of the story. */
export async function playDrills(fleet: Fleet, store: Store, telling: Telling, table: Table): Promise<void> {
  const began = performance.now()
  const ground = await prepare(fleet, store, telling, table)
  await sleepOverNight(ground)
  const load = ground.conversations.filter(({ agents }) => ![EMPTIED, DOUBLED].map(workerOf).includes(agents.b))
  const mail = new MailLoad(load, ground.stateOf, SEND_EVERY_MS)
  mail.start()
  try {
    telling.chapter('A token leaks under load, a machine is made anew, keys are copied')
    await Promise.all([tokenLeaks(ground, ROBBED, mail), newMachine(ground, EMPTIED), twins(fleet, ground)])
    telling.chapter('Somebody writes to the git remote as they like')
    await hostileRemote(ground)
    await bridgeAway(ground, mail)
    await accounts(fleet, ground, mail)
  } finally {
    await mail.stop()
  }
  telling.say(`the drills took ${seconds(performance.now() - began)}`)
}

/** From now on tokens live for a minute: those that live longer end, and the issuer makes new ones. */
async function prepare(fleet: Fleet, store: Store, telling: Telling, table: Table): Promise<Ground> {
  telling.chapter('Drills: tokens live for a minute from now on')
  const { lead } = fleet
  await Promise.all(['bridge', 'cred-sync'].map((each) => lead.kill(each)))
  lead.set({ S2_LIFETIME: LIFETIME, S2_GIT_POLL: '5s' })
  fleet.startBridge()
  fleet.startIssuer()
  const conversations = await retried(() => store.conversations())
  for (const { id } of conversations) await store.endConversation(id)
  const ground = groundOf(fleet, store, telling, table, conversations)
  const all = async (): Promise<boolean> =>
    (await Promise.all(everyWorker(ground).map((each) => speaks(ground, each)))).every((each) => each)
  await until('all speak by tokens of a minute', all)
  return ground
}

function groundOf(
  fleet: Fleet,
  store: Store,
  telling: Telling,
  table: Table,
  conversations: Ground['conversations'],
): Ground {
  const { lead, git, machines, workers } = fleet
  return {
    store,
    telling,
    conversations,
    dealt: [],
    workers: workers.length,
    keep: DISK,
    authority: fleet.authority,
    remote: join(git.disk, 'fleet.git'),
    folder: git.disk,
    stateOf: (agent) => fleet.machineOf(agent).state,
    s2: (...words) => lead.s2(...words),
    note: (what, ms, most) => table.note(what, ms, most, 'recovery'),
    switchOff: async () => void (await Promise.all(machines.map((machine) => machine.losePower()))),
    switchOn: async () => {
      await Promise.all(machines.map((machine) => machine.boot()))
      fleet.serveGit()
      fleet.startBridge()
      fleet.startBesideBridge()
      for (const worker of workers) fleet.startWorker(worker)
    },
    takeBridgeAway: () => lead.kill('bridge'),
    giveBridgeBack: async () => fleet.startBridge(),
    holdIssuer: async (isHeld) => lead.hold('cred-sync', isHeld),
    emptyDisk: async (number) => {
      const machine = fleet.worker(number)
      await machine.losePower()
      machine.emptyDisk()
      fleet.layAuthority(machine)
      await machine.boot()
    },
    joinAgain: async (number, line) => {
      const machine = fleet.worker(number)
      await machine.tell(line, 's2.js', 'worker', 'join', '-')
      fleet.startWorker(machine)
    },
  }
}

/** All that lies on a worker's disk is copied to another machine, and both run. */
async function twins(fleet: Fleet, { store, telling, note }: Ground): Promise<void> {
  const agent = workerOf(DOUBLED)
  const twin = fleet.machine(`${agent}-twin`, TWIN)
  for (const name of ['authority.crt', 'state/keys', 'state/credentials'])
    cpSync(join(fleet.worker(DOUBLED).disk, name), join(twin.disk, name), { recursive: true })
  await twin.boot()
  const began = performance.now()
  twin.start('cred-sync')
  twin.start('keepalive')
  const told = async () => (await store.incidents({ open: false })).filter(({ cause }) => cause === `twins:${agent}`)
  await until('people are told of the twins', async () => (await told()).length > 0)
  const inTime = note('one key on two machines: noticed and told', performance.now() - began, 65)
  await twin.losePower()
  const [incident, ...more] = await told()
  telling.check(
    'one key on two machines is told once, with both of their names',
    inTime && more.length === 0 && [agent, twin.name].every((each) => incident?.summary.includes(each)),
    incident?.summary,
  )
}

async function accounts(fleet: Fleet, ground: Ground, mail: MailLoad): Promise<void> {
  const { store, telling, dealt } = ground
  telling.chapter('The accounts of the drills')
  await mail.stopSending()
  await until('all mail has come', () => mail.read >= mail.sent, 120_000).catch(() => undefined)
  const faults = mail.faults()
  telling.check(
    `${mail.sent} messages were sent all the while, and each came once and in order`,
    faults.length === 0,
    faults.join('; '),
  )
  const audit = await wholeAudit(store)
  // Whose owner is not back within its grace after the night goes to another: that it is done once is what counts there.
  const stay = dealt.filter((id) => id !== 'overnight')
  const moved = audit.filter(({ action, details }) => action === 'task_moved' && stay.includes(String(details.task)))
  telling.check('no task was moved for any of it', moved.length === 0, moved.map(({ details }) => details.task).join())
  telling.check(
    'each worker has the conversation that it had',
    (await store.workers()).every(
      ({ agent, conversation }) => conversation === conversationOf(ground, Number(agent.split('-').at(-1))),
    ),
  )
  const left = async (): Promise<string> =>
    (await store.incidents({ open: true }))
      .map(({ cause }) => cause)
      .filter((cause) => cause !== `twins:${workerOf(DOUBLED)}`) // is over when they were not seen for ten minutes
      .join()
  await until('no other incident is open', async () => (await left()) === '').catch(() => undefined)
  telling.check('no other incident is open', (await left()) === '', await left())
  const fallen = fleet.machines.flatMap((machine) => machine.fallen())
  telling.check('no program ended that nobody killed', fallen.length === 0, fallen.join('; '))
}

async function retried<T>(ask: () => Promise<T>): Promise<T> {
  let answer: T | undefined
  await until('the bridge answers', async () => {
    answer = await ask()
    return true
  })
  return answer as T
}
