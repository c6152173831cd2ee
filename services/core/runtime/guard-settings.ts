import { path, word } from './setting-parsers.ts'

/** The settings of guarded commands. */
export const GUARD_SETTINGS = {
  S2_GUARD: {
    about:
      'Whether a person at a terminal of this host may let its agent run guarded commands (`s2 guard`), and others answer its permission prompts (`s2 answer`).',
    programs: ['s2'],
    fallback: 'off',
    example: 'on',
    parse: word(['on', 'off']),
  },
  S2_GUARD_FOLDER: {
    about: 'Folder that guarded commands work in: they see nothing else of yours.',
    programs: ['s2'],
    example: '/src/app',
    parse: path,
  },
} as const
