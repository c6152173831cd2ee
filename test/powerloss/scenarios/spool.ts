/** The spool of a host: what its agent puts, gets and acks. */
import { Inbox } from '#spool/inbox.ts'
import { Outbox } from '#spool/outbox.ts'
import { letter, READER } from '../../core/spool/sample.ts'
import type { Scenario } from '../scenario.ts'

interface FoundOutbox {
  readonly texts: readonly string[]
  readonly setAside: readonly string[]
}

/** Items that are put are there, or have left. */
export const outbox: Scenario<FoundOutbox, { readonly put: string } | { readonly leaves: string }> = {
  name: 'outbox',
  module: import.meta.url,
  async play(root, tell) {
    const own = new Outbox(root)
    const put = async (text: string): Promise<string> => {
      const name = await own.put({ kind: 'send', from: READER, draft: { text } })
      tell({ put: text })
      return name
    }
    const first = await put('text 1')
    await Promise.all([put('text 2'), put('text 3')])
    tell({ leaves: 'text 1' })
    await own.done(first)
    await put('text 4')
  },
  async look(root) {
    const setAside: string[] = []
    const own = new Outbox(root, (fault) => setAside.push(fault))
    await own.tidy(Date.now())
    const texts = (await own.list()).map(({ item }) => (item.kind === 'send' ? item.draft.text : ''))
    return { texts, setAside }
  },
  judge({ texts, setAside }, told) {
    const left = new Set(told.map((word) => ('leaves' in word ? word.leaves : null)))
    const put = told.flatMap((word) => ('put' in word ? [word.put] : []))
    const lost = put
      .filter((text) => !texts.includes(text) && !left.has(text))
      .map((text) => `${text} was put, and is lost`)
    const order = [...texts].sort().join() === texts.join() ? [] : [`they are out of order: ${texts.join()}`]
    return [...lost, ...order, ...setAside]
  },
}

type InboxWord =
  | { readonly placed: readonly number[] }
  | { readonly acked: readonly number[] }
  | { readonly forgotten: readonly number[] }

interface FoundInbox {
  /** In `new` and `cur`: the agent gets it, for the first time or again. */
  readonly open: readonly number[]
  readonly done: readonly number[]
  /** What is brought once more and taken for a new one. */
  readonly anew: readonly number[]
  readonly setAside: readonly string[]
}

const LETTERS = [letter(1), letter(2), letter(3)]

async function lookIntoInbox(root: string): Promise<FoundInbox> {
  const setAside: string[] = []
  const own = new Inbox(root, (fault) => setAside.push(fault))
  await own.recover()
  await own.tidy()
  const open = [...(await own.list('new')), ...(await own.list('cur'))]
  const done = await own.list('done')
  for (const id of [...open, ...done]) await own.inspect(id)
  const anew = (await own.putAll(LETTERS)).filter(({ as }) => as === 'new').map(({ id }) => id)
  return { open, done, anew, setAside }
}

function judgeInbox({ open, done, anew, setAside }: FoundInbox, told: readonly InboxWord[]): string[] {
  const ids = (kind: 'placed' | 'acked' | 'forgotten'): number[] =>
    told.flatMap((word) => (kind in word ? (word as Record<typeof kind, number[]>)[kind] : []))
  const placed = new Set(ids('placed'))
  const acked = new Set(ids('acked'))
  const forgotten = new Set(ids('forgotten'))
  return [
    ...[...placed]
      .filter((id) => !open.includes(id) && !done.includes(id) && !acked.has(id))
      .map((id) => `${id} was placed, and is lost`),
    ...[...acked].filter((id) => open.includes(id)).map((id) => `${id} was acked, and comes again`),
    ...[...acked]
      .filter((id) => !forgotten.has(id) && !done.includes(id) && !isLetGo(id, told))
      .map((id) => `the ack of ${id} is lost`),
    ...[...forgotten]
      .filter((id) => anew.includes(id))
      .map((id) => `${id} was acked and forgotten, and comes as a new one`),
    ...setAside,
  ]
}

/** Whether it is being forgotten: from then on it lies in `done` or is remembered. */
function isLetGo(id: number, told: readonly InboxWord[]): boolean {
  return told.some((word) => 'forgets' in word && (word as { forgets: number[] }).forgets.includes(id))
}

/** Messages that are placed are there until they are acked, and come never again then. */
export const inbox: Scenario<FoundInbox, InboxWord | { readonly forgets: readonly number[] }> = {
  name: 'inbox',
  module: import.meta.url,
  async play(root, tell) {
    const own = new Inbox(root)
    await own.recover()
    tell({ placed: (await own.putAll(LETTERS.slice(0, 2))).map(({ id }) => id) })
    const taken = await own.take(1)
    tell({ acked: await own.ack(taken.map(({ id }) => id)) })
    tell({ placed: (await own.putAll(LETTERS.slice(2))).map(({ id }) => id) })
    tell({ acked: await own.ack([2]) })
    tell({ forgets: [1, 2] })
    await own.forget([1, 2])
    tell({ forgotten: [1, 2] })
    await own.take(1)
  },
  look: lookIntoInbox,
  judge: judgeInbox,
}

const MANY = [1, 2, 3, 4, 5, 6].map((id) => letter(id))

/** What a killed life has acked is acked, once a later one has told it. */
export const twoLivesOfAcks: Scenario<FoundInbox, InboxWord> = {
  name: 'two lives of acks',
  module: import.meta.url,
  isKilledFirst: true,
  async lay(root) {
    const own = new Inbox(root)
    await own.putAll(MANY)
    await own.take(MANY.length)
  },
  async play(root, tell) {
    const own = new Inbox(root)
    await own.recover()
    tell({ acked: await own.list('done') })
    tell({ acked: await own.ack(await own.list('cur')) })
  },
  look: lookIntoInbox,
  judge: judgeInbox,
}

/** The same where the program was killed in a first life, and did in a second one what was left to do. */
export const twoLives: Scenario<FoundInbox, InboxWord> = {
  name: 'two lives',
  module: import.meta.url,
  isKilledFirst: true,
  async play(root, tell) {
    const own = new Inbox(root)
    await own.recover()
    const done = await own.list('done')
    if (done.length > 0) tell({ acked: done })
    const placed = await own.putAll(LETTERS.slice(0, 2))
    tell({ placed: placed.filter(({ as }) => as !== 'acked').map(({ id }) => id) })
    const taken = [...(await own.take(2)).map(({ id }) => id), ...(await own.list('cur'))]
    const acked = await own.ack(taken)
    if (acked.length > 0) tell({ acked })
  },
  look: lookIntoInbox,
  judge: judgeInbox,
}
