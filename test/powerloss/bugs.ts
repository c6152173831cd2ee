/** Mistakes that can be made on purpose, in a journal, to see that the replay finds them. No code is touched. */
import { basename } from 'node:path'
import type { Journal, ObjectId, Step } from './journal.ts'

export const BUGS = {
  'no content sync': { scenario: 'outbox', plant: (journal) => without(journal, (_, isFolder) => !isFolder) },
  'no folder sync': { scenario: 'inbox', plant: (journal) => without(journal, (_, isFolder) => isFolder) },
  'log not synced': { scenario: 'store', plant: (journal) => without(journal, (path) => path.endsWith('-wal')) },
  'draft not synced': { scenario: 'backup', plant: (journal) => without(journal, (path) => path.endsWith('.draft')) },
  'restored draft not synced': {
    scenario: 'restore',
    plant: (journal) => without(journal, (path) => basename(path).includes('.restoring-')),
  },
  'rename before sync': { scenario: 'credentials', plant: renamedFirst },
  'held task renamed before sync': { scenario: 'held tasks', plant: renamedFirst },
  'said end not synced': { scenario: 'ends that agents said', plant: (journal) => without(journal, isBelow('said')) },
  'no folder sync of taken messages': {
    scenario: 'message leases',
    plant: (journal) => without(journal, (_, isFolder) => isFolder),
  },
  'wake notes renamed before sync': { scenario: 'wakes and spending', plant: renamedFirst },
  'spending not synced': {
    scenario: 'wakes and spending',
    plant: (journal) => without(journal, (path) => path.endsWith('turns.log')),
  },
  'settings renamed before sync': { scenario: 'client settings', plant: renamedFirst },
} as const satisfies Readonly<Record<string, { scenario: string; plant: (journal: Journal) => Journal }>>

export type Bug = keyof typeof BUGS

function isBelow(folder: string): (path: string) => boolean {
  return (path) => path.includes(`/${folder}/`)
}

/** Some objects are never synced. */
function without(journal: Journal, isMeant: (path: string, isFolder: boolean) => boolean): Journal {
  const steps = journal.steps.map((step, at): Step => {
    if (step.kind !== 'synced' || at < journal.begin) return step
    const path = journal.paths.get(step.object) ?? ''
    return isMeant(path, journal.folders.has(step.object)) ? { ...step, kind: 'sync begins' } : step
  })
  return { ...journal, steps }
}

/** Each file gets its name, and the folder is synced, before the file itself is: what was told stays told as early as it was. */
function renamedFirst(journal: Journal): Journal {
  const late = new Set<ObjectId>()
  for (const step of journal.steps.slice(journal.begin)) {
    if (step.kind === 'names' && step.changes.length > 1) for (const { object } of step.changes) late.add(object)
  }
  return without(journal, (path) => [...late].some((object) => journal.paths.get(object) === path))
}
