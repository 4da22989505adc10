/** Every text of the page, in German. */
import type { Fault } from "../limits";
import type { Texts } from "./en";

const counted = (count: number, singular: string, plural: string) => `${count} ${count === 1 ? singular : plural}`;
/** A time to wait, in a unit that is not too fine. */
const wait = (seconds: number) =>
  seconds < 120 ? `${seconds} s` : seconds < 7200 ? `${Math.ceil(seconds / 60)} min` : `${Math.ceil(seconds / 3600)} Std.`;
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0).replace(".", ",")} MB`;

// What several codes mean to a person.
const pageFault = "Auf dieser Seite ging etwas schief. Laden Sie sie neu, und versuchen Sie es erneut.";
const uploadGone = "Die Zeit zum Hochladen ist abgelaufen. Versuchen Sie es erneut: Das Bild ist noch auf diesem Gerät.";
const sentElsewhere = "Ein anderes Fenster sendet dies schon. Warten Sie, bis es dort fertig ist, oder versuchen Sie es erneut.";
const imageGone = "Dieses Bild gibt es nicht mehr. Entfernen Sie dies aus der Liste.";

export const de: Texts = {
  title: "Bilder",
  sort: "Reihenfolge",
  top: "Beliebt",
  newest: "Neu",
  newPost: "Neuer Beitrag",
  signIn: "Anmelden",
  signOut: "Abmelden",
  cancel: "Abbrechen",
  close: "Schließen",
  save: "Speichern",
  edit: "Bearbeiten",
  delete: "Löschen",
  remove: "Entfernen",
  send: "Senden",
  post: "Veröffentlichen",
  pause: "Anhalten",
  resume: "Fortsetzen",
  tryAgain: "Erneut versuchen",
  caption: "Bildunterschrift",
  alt: "Alternativtext",
  altHint: "Was man jemandem darüber sagen würde, der es nicht sehen kann.",
  imageBy: (name: string) => `Bild von ${name}`,
  edited: "bearbeitet",

  showMore: "Mehr zeigen",
  loading: "Wird geladen",
  end: "Das war alles.",
  nothingYet: "Noch hat niemand etwas gezeigt. Machen Sie den Anfang: Neuer Beitrag.",
  feedFailed: "Die Bilder konnten nicht geladen werden. Prüfen Sie die Verbindung und versuchen Sie es erneut.",

  comments: (count: number) => `Kommentare (${count})`,
  commentList: "Kommentare",
  comment: "Kommentar",
  commentHint: "Schreiben Sie etwas zu diesem Bild",
  noComments: "Noch keine Kommentare.",
  olderComments: "Ältere Kommentare zeigen",
  commentsFailed: "Die Kommentare konnten nicht geladen werden. Versuchen Sie es erneut, wenn Sie online sind.",
  postGone: "Dieses Bild gibt es nicht mehr. Schließen Sie es, um zu den anderen zurückzukehren.",
  previous: "Voriges Bild",
  next: "Nächstes Bild",
  editComment: "Kommentar bearbeiten",
  deleteComment: "Diesen Kommentar löschen?",
  deletePost: "Dieses Bild löschen?",
  deletePostHint: "Seine Kommentare werden mitgelöscht. Das lässt sich nicht rückgängig machen.",
  editPost: "Beitrag bearbeiten",

  images: "Bilder",
  chooseImages: "Wählen Sie Bilder aus, ziehen Sie sie auf die Seite, oder fügen Sie sie ein.",
  removeImage: (name: string) => `${name} entfernen`,
  noPreview: "Dieser Browser kann keine Vorschau zeigen. Veröffentlichen lässt sich das Bild trotzdem.",
  smaller: "Kleiner (2048 px)",
  smallerSaves: (bytes: number) => `Spart ${megabytes(bytes)} Ihrer Daten.`,
  smallerNothing: "Es würde nicht kleiner; das Bild wird gesendet, wie es ist.",
  smallerFailed: "Dieser Browser kann es nicht verkleinern; das Bild wird gesendet, wie es ist.",
  working: "Wird verkleinert",
  draftsRefused: "Entfernen oder ändern Sie, was markiert ist, dann veröffentlichen Sie.",
  fault: (fault: Fault): string => {
    switch (fault.is) {
      case "empty":
        return "Diese Datei ist leer. Wählen Sie eine andere.";
      case "unreadable":
        return "Der Browser kann diese Datei nicht mehr lesen. Wählen Sie sie noch einmal aus.";
      case "format":
        return "Das ist kein Bild, das sich veröffentlichen lässt. Wählen Sie JPEG, PNG, WebP, GIF, BMP, HEIC oder AVIF.";
      case "bytes":
        return `Diese Datei ist zu groß: höchstens ${megabytes(fault.max)} sind möglich.`;
      case "pixels":
        return `Dieses Bild hat zu viele Bildpunkte: höchstens ${Math.floor(fault.max / 1e6)} Megapixel sind möglich. Wählen Sie „Kleiner“ oder ein anderes.`;
      case "long":
        return `Höchstens ${fault.max} Zeichen; dies sind ${fault.has}.`;
      case "character":
        return fault.character === "NUL"
          ? "In diesem Text ist ein Zeichen ohne Bedeutung (NUL). Tippen Sie den Text neu."
          : "In diesem Text ist ein halbes Zeichen (ein einzelnes Surrogat), oft der Rest eines Emojis. Löschen Sie es, oder tippen Sie den Text neu.";
    }
  },
  storageFull: "Auf diesem Gerät ist kein Platz mehr, um es bis zum Senden aufzuheben. Schaffen Sie Platz und versuchen Sie es erneut.",
  fileUnreadable: "Der Browser kann diese Datei nicht mehr lesen. Wählen Sie sie noch einmal aus.",
  inMemoryOnly: "Dieser Browser will dies nicht speichern. Lassen Sie diese Seite offen, bis es gesendet ist.",

  name: "Name",
  nameHint: "Auf diesem Rechner ist jeder, wer er sagt.",
  token: "Token",
  tokenHint: "Sie bekommen eines von dem, der diesen Dienst betreibt: image-poster token IHR-NAME.",
  goToIssuer: (host: string) => `Weiter bei ${host}`,
  signInRefused: "Das wurde nicht angenommen. Prüfen Sie es, oder bitten Sie um ein neues.",
  nameRefused: "Dieser Name geht nicht. Nehmen Sie 1 bis 128 druckbare Zeichen.",
  signInUnreachable: "Der Dienst ist nicht erreichbar. Versuchen Sie es erneut, wenn Sie online sind.",
  signedInAs: (name: string) => `Angemeldet als ${name}`,
  signOutWaiting: (count: number) =>
    `${counted(count, "Eintrag von Ihnen ist", "Einträge von Ihnen sind")} noch nicht gesendet. Sie bleiben auf diesem Gerät und werden gesendet, wenn Sie sich wieder anmelden.`,
  signOutQuestion: "Abmelden?",

  uploads: "Uploads",
  waitingRegion: "Noch nicht gesendet",
  progressOf: (name: string) => `Fortschritt von ${name}`,
  stateWaiting: "Wartet",
  stateWaitingFor: (name: string) => `Wartet, bis ${name} sich anmeldet`,
  stateOffline: "Wartet auf eine Verbindung",
  stateReserving: "Beginnt",
  stateUploading: (percent: number) => `Wird hochgeladen, ${percent} %`,
  stateRetrying: (seconds: number) => `Neuer Versuch in ${wait(seconds)}`,
  stateProcessing: "Wird verarbeitet",
  stateRemoving: "Wird entfernt",
  statePaused: "Angehalten",
  stateFailed: (why: string) => `Fehlgeschlagen: ${why}`,
  stateOld: "Dies wurde vor über sechs Tagen zuerst gesendet, oder die Uhr dieses Geräts ging falsch. Es ist vielleicht angekommen. Sehen Sie erst nach, dann senden Sie es erneut oder entfernen es.",
  stateConflict: "Jemand hat dies geändert, während Ihre Änderung unterwegs war. Welche soll bleiben?",
  sendAgain: "Erneut senden",
  mine: "Ihre",
  theirs: "Was jetzt da steht",
  useMine: "Meine nehmen",
  useTheirs: "Jene behalten",
  waitingComment: (text: string) => `Kommentar: ${text}`,
  waitingEdit: (text: string) => `Änderung: ${text}`,
  waitingDeletion: "Löschen eines Bildes",
  waitingCommentDeletion: "Löschen eines Kommentars",

  offline: "Sie sind offline. Hier steht, was Sie zuletzt gesehen haben.",
  offlineWaiting: (count: number) => `Offline: ${count} warten`,
  sending: (count: number) => `Wird gesendet: ${count} warten`,
  signInAgain: (count: number) => `Melden Sie sich wieder an, damit es weitergeht: ${count} warten`,
  donePost: "Ihr Bild ist veröffentlicht.",
  doneComment: "Ihr Kommentar ist gesendet.",
  doneEdit: "Ihre Änderung ist gespeichert.",
  doneDeletion: "Es ist gelöscht.",
  goneMeanwhile: "Es war inzwischen gelöscht worden; geändert wurde nichts.",
  sendingFailed: "Etwas wurde nicht angenommen. Sehen Sie in die Liste über den Bildern.",

  problems: {
    unreadable: "Der Browser kann dieses Bild nicht mehr lesen. Entfernen Sie es, und wählen Sie es noch einmal aus.",
    identity_required: "Sie sind nicht mehr angemeldet. Melden Sie sich an, dann geht es weiter.",
    not_yours: "Dies gehört jemand anderem. Entfernen Sie es aus der Liste.",
    admins_only: "Das dürfen nur Administratoren. Bitten Sie einen darum.",
    direct_access: "Das ist nicht die Adresse des Dienstes. Öffnen Sie die, die Sie von den Betreibern haben.",
    host_not_allowed: "Der Dienst antwortet nur unter dem eigenen Namen dieses Rechners. Öffnen Sie ihn als localhost.",
    rate_limited: "Das war mehr, als der Dienst von einer Person auf einmal annimmt. Warten Sie ein wenig, dann geht es weiter.",
    busy: "Der Dienst ist ausgelastet. Warten Sie einen Moment, dann geht es weiter.",
    not_ready: "Der Dienst kann gerade nichts annehmen. Warten Sie einen Moment, dann geht es weiter.",
    internal_error: "Beim Dienst ging etwas schief. Warten Sie ein wenig; bleibt es so, sagen Sie es den Betreibern.",
    storage_full: "Der Dienst hat keinen Platz mehr. Warten Sie ein wenig; bleibt es so, sagen Sie es den Betreibern.",
    body_silent: "Die Verbindung war zu lange still. Suchen Sie eine bessere, dann geht es weiter.",
    request_in_progress: "Der Dienst ist noch dabei. Warten Sie einen Moment.",
    image_unreadable: "Das Bild ist beschädigt oder unvollständig. Wählen Sie eine vollständige Kopie oder ein anderes Bild.",
    image_unsupported: "Diese Art von Bild lässt sich nicht zeigen. Speichern Sie es in einem anderen Format.",
    image_too_large: "Das Bild hat zu viele Bildpunkte. Nehmen Sie ein kleineres.",
    image_too_slow: "Das Bild braucht zu lange zum Lesen. Speichern Sie es neu oder kleiner, und nehmen Sie dann das.",
    processing_failed: "Der Dienst konnte dieses Bild nicht fertigstellen; an Ihnen liegt es nicht. Sagen Sie es den Betreibern, oder versuchen Sie es später erneut.",
    unsupported_image: "Das ist kein Bild, das sich veröffentlichen lässt. Wählen Sie ein anderes.",
    upload_too_large: "Die Datei ist zu groß. Nehmen Sie eine kleinere.",
    body_too_large: "Der Text ist zu lang. Kürzen Sie ihn, und senden Sie ihn dann erneut.",
    validation_failed: "So nimmt der Dienst es nicht an. Entfernen Sie es aus der Liste, und machen Sie es neu.",
    checksum_mismatch: "Das Bild wurde unterwegs beschädigt. Versuchen Sie es erneut.",
    upload_gone: uploadGone,
    upload_not_found: uploadGone,
    upload_url_invalid: uploadGone,
    upload_taken_over: sentElsewhere,
    offset_mismatch: sentElsewhere,
    post_not_found: imageGone,
    image_not_found: imageGone,
    comment_not_found: "Diesen Kommentar gibt es nicht mehr. Entfernen Sie dies aus der Liste.",
    post_not_ready: "Das Bild ist noch nicht fertig. Versuchen Sie es gleich noch einmal.",
    gone: "Was Sie gemacht hatten, war gelöscht, bevor dies noch einmal ankam. Entfernen Sie es aus der Liste, oder machen Sie es neu.",
    edit_conflict: "Jemand hat dies inzwischen geändert. Sehen Sie nach, was jetzt da steht, und ändern Sie es dann erneut.",
    idempotency_key_reused: "Der Dienst hat an dieser Stelle etwas anderes angenommen. Sehen Sie nach, ob es da ist, und versuchen Sie es dann erneut.",
    page_error: pageFault,
    invalid_json: pageFault,
    invalid_multipart: pageFault,
    invalid_request: pageFault,
    invalid_cursor: pageFault,
    invalid_tus_request: pageFault,
    tus_version_unsupported: pageFault,
    concatenation_unsupported: pageFault,
    route_not_found: pageFault,
    method_not_allowed: pageFault,
    multipart_too_large: pageFault,
    piece_too_large: pageFault,
    unsupported_media_type: pageFault,
    range_not_satisfiable: pageFault,
  },
};
