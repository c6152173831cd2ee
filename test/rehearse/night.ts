import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Store } from '#store/store.ts'
import { until } from '../until.ts'
import { aliveAgents } from './company.ts'
import { bridgeAway, type Ground, newMachine, sleepOverNight, tokenLeaks } from './drills.ts'
import { hostileRemote } from './hostile-remote.ts'
import { MailLoad } from './mail.ts'
import { Stage, workerOf } from './stage.ts'
import { seconds, type Telling } from './telling.ts'

/** A minute stands for the three hours that tokens live. */
const LIFETIME_MS = 60_000
const ROLES = ['backend', 'tests', 'docs']
/** Whom what befalls. */
const ROBBED = 2
const EMPTIED = 3

/** A fleet that nobody watches: asleep, without its bridge, robbed, and on a new machine; nobody does anything about it. */
export async function playNight(telling: Telling): Promise<void> {
  await using stage = new Stage({
    workers: ROLES.map((role) => ({ role })),
    settings: { S2_LIFETIME: `${LIFETIME_MS}ms` },
  })
  stage.keep = true
  const ground = await begin(stage, telling)
  await sleepOverNight(ground)
  const mail = new MailLoad(
    ground.conversations.filter(({ agents }) => agents.b !== workerOf(EMPTIED)),
    (agent) => stage.stateOf(agent),
  )
  mail.start()
  try {
    telling.chapter('A token leaks, and both ends get new ones at once')
    await tokenLeaks(ground, ROBBED, mail)
    telling.chapter('A worker’s machine is made anew: an invitation, and it is the same worker')
    await newMachine(ground, EMPTIED)
    telling.chapter('Somebody writes to the git remote as they like')
    await hostileRemote(ground)
    await bridgeAway(ground, mail)
    await mail.stopSending()
    await until('all mail has come', () => mail.read >= mail.sent)
    const faults = mail.faults()
    telling.check(`${mail.sent} messages came all the while, once and in order`, faults.length === 0, faults.join('; '))
  } finally {
    await mail.stop()
  }
  telling.check('s2 up ends with 0', (await stage.lower()) === 0)
  stage.keep = false
}

async function begin(stage: Stage, telling: Telling): Promise<Ground> {
  telling.chapter('A small fleet whose tokens live for a minute')
  let store = await stage.raise()
  await until('all are alive', async () => (await aliveAgents(store)) === ROLES.length + 1)
  telling.say('three workers and their orchestrator are alive')
  const conversations = await store.conversations()
  const signal = async (programs: readonly string[], name: NodeJS.Signals): Promise<void> => {
    const pids = await Promise.all(programs.map((each) => stage.pidOf('orchestrator', each)))
    for (const pid of pids) if (pid !== null) process.kill(pid, name)
  }
  return {
    get store(): Store {
      return store
    },
    telling,
    conversations,
    dealt: [],
    workers: ROLES.length,
    keep: stage.folder,
    folder: stage.folder,
    remote: join(stage.state, 'remote.git'),
    stateOf: (agent) => stage.stateOf(agent),
    s2: (...words) => stage.s2(...words),
    note: (what, ms, most) => {
      telling.say(`${what}: ${seconds(ms)}`)
      return ms <= most * 1_000
    },
    switchOff: async () => void (await stage.lower()),
    switchOn: async () => {
      store = await stage.raise()
    },
    takeBridgeAway: () => signal(['bridge', 'cred-sync'], 'SIGSTOP'),
    giveBridgeBack: () => signal(['bridge', 'cred-sync'], 'SIGCONT'),
    holdIssuer: (isHeld) => signal(['cred-sync'], isHeld ? 'SIGSTOP' : 'SIGCONT'),
    emptyDisk: async (worker) => {
      const state = stage.stateOf(workerOf(worker))
      rmSync(join(state, 'keys/identity.json'))
      for (const folder of ['credentials', 'inbox']) rmSync(join(state, folder), { recursive: true })
      const pid = await stage.pidOf(workerOf(worker), 'keepalive')
      if (pid !== null) process.kill(pid, 'SIGKILL') // what it knew of the inbox goes with the machine
    },
    joinAgain: async (worker, line) =>
      void (await stage.s2In(stage.stateOf(workerOf(worker)), ['worker', 'join', '-'], line)),
  }
}
