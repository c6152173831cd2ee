import type { CommandContext } from '#console/context.ts'
import { stateFolder } from '#console/state-folder.ts'
import { plain } from '#console/terminal-text.ts'
import { keepListAfterAct } from '#member/keep-list.ts'
import type { Store } from '#store/store.ts'

/** Keeps the list anew after a command has changed it; where it cannot be had the command has succeeded all the same, and this warns. */
export async function keepListOrWarn(context: CommandContext, store: Pick<Store, 'reservations'>): Promise<void> {
  const why = await keepListAfterAct(store, { state: stateFolder(context), clock: context.clock })
  if (why === null) return
  context.tell(`s2: while the bridge is away commits are checked by the list of before this: ${plain(why)}\n`)
}
